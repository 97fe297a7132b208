"""Days and months as Dagster partitions, and the windows and months that they stand for."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.sync.window import Window
from resources.database.first_day import EARLIEST_DAY


def days_from(first_day: date) -> dg.DailyPartitionsDefinition:
    """UTC days of session starts, from `first_day` to today.

    A month's first night may have begun on the last day of the month before, and Dagster maps a month to the days whose
    windows overlap it: a day's window in Dagster begins in the day's last minute (`window_of` returns the day), see
    docs/adr/0020-begin-a-days-dagster-window-at-2359.md.
    """
    return dg.DailyPartitionsDefinition(
        start_date=day_key(first_day), timezone="UTC", hour_offset=23, minute_offset=59, end_offset=2
    )


def months_from(first_day: date) -> dg.MonthlyPartitionsDefinition:
    """Months of nights, from that of `first_day` to the unfinished one."""
    return dg.MonthlyPartitionsDefinition(start_date=month_key(first_day), timezone="UTC", end_offset=1)


def starting_on(assets: Iterable[dg.AssetsDefinition], first_day: date) -> list[dg.AssetsDefinition]:
    """Return the assets with partitions that start on a day or in its month.

    Args:
        assets: partitioned by `daily`, `monthly` or not at all.
        first_day: of the database, see `resources.database.first_day`.
    """
    partitions: dict[dg.PartitionsDefinition, dg.PartitionsDefinition] = {
        daily: days_from(first_day),
        monthly: months_from(first_day),
    }

    def narrowed(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.partitions_def is None:
            return spec
        return spec.replace_attributes(partitions_def=partitions[spec.partitions_def])

    return [asset.map_asset_specs(narrowed) for asset in assets]


def window_of(context: dg.OpExecutionContext) -> Window:
    """The window of the run's partition, or of its whole range of partitions.

    Raises:
        Failure: it reaches into the future, which Dagster lets through when a run is launched by its tags.
    """
    span = context.partition_time_window
    first_day, last_day = span.start.date(), span.end.date() - timedelta(days=1)
    today = datetime.now(UTC).date()
    if last_day > today:
        raise dg.Failure(
            f"{last_day} lies in the future: the last day that can be synced is today, {today} (UTC). "
            "No request was made.",
            allow_retries=False,
        )
    return Window.of_days(first_day, last_day)


def months_of(
    keys: Sequence[str], partitions: dg.PartitionsDefinition, today: date, stale: Iterable[date] = ()
) -> list[date]:
    """Return the months of monthly partitions, and the stale months that have no partition: any run takes them along.

    A month without a partition lies before the first one, or is the next one already begun in the east, or comes from
    a phone's wrong clock.

    Args:
        keys: of the run.
        partitions: of the asset.
        today: the UTC date.
        stale: months whose sessions changed.

    Raises:
        Failure: one of the partitions lies in the future.
    """
    months = sorted(month_of_key(key) for key in keys)
    if months[-1] > today:
        raise dg.Failure(
            f"{months[-1]:%Y-%m} lies in the future: the last month with sessions is {today:%Y-%m}.",
            allow_retries=False,
        )
    return [*months, *(month for month in stale if not partitions.has_partition_key(month_key(month)))]


def month_keys(months: Sequence[date], partitions: dg.MonthlyPartitionsDefinition) -> tuple[str, str]:
    """Return the keys of the first and last partition with which all of these months are recomputed; see `months_of`.

    Args:
        months: in ascending order.
        partitions: of the asset.
    """
    known = partitions.get_partition_keys()
    first, last = (max(known[0], min(month_key(month), known[-1])) for month in (months[0], months[-1]))
    return first, last


def day_key(day: date) -> str:
    """The daily partition's key."""
    return day.isoformat()


def month_key(month: date) -> str:
    """The monthly partition's key."""
    return month.replace(day=1).isoformat()


def month_of_key(key: str) -> date:
    """The month of a monthly partition's key."""
    return datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=UTC).date()


daily, monthly = days_from(EARLIEST_DAY), months_from(EARLIEST_DAY)
"""The widest partitions, with which the assets are defined; `starting_on` narrows them."""
