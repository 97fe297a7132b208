"""Calendar dates of a query, and the zone in which they are meant."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from simulator.messages import ApiError, Request, validation_error

BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@cache
def zone_named(name: str) -> tzinfo:
    """The zone, or 400 as the contract words it."""
    if name == "UTC":
        return UTC
    if name not in available_timezones():
        raise ApiError(400, "The invalid timezone is provided")
    return ZoneInfo(name)


def requested_zone(request: Request) -> tuple[str, tzinfo]:
    """The `timezone` header, default UTC."""
    name = request.headers.get("timezone", "UTC")
    return name, zone_named(name)


def date_parameter(request: Request, name: str, *, required: bool = False) -> date | None:
    """A `YYYY-MM-DD` query parameter.

    Args:
        request: the request.
        name: of the query parameter.
        required: True to refuse a request without it.
    """
    text = request.query.get(name)
    if text is None:
        if required:
            raise validation_error("query", name, "field required")
        return None
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise validation_error("query", name, "invalid date format")


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """The first moment of `day` in `zone`, as UTC.

    Args:
        day: calendar date.
        zone: time zone of the timestamps.
    """
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except OverflowError:
        return BEGINNING if day.year == 1 else END


def window_of(first: date | None, last: date | None, zone: tzinfo) -> tuple[datetime, datetime]:
    """Both dates inclusive, as a half-open window in UTC.

    Args:
        first: first date; None without a bound.
        last: last date, included; None without a bound.
        zone: time zone of the timestamps.
    """
    start = BEGINNING if first is None else start_of_day(first, zone)
    if last is None or last == date.max:
        return start, END
    return start, start_of_day(last + timedelta(days=1), zone)


def period_of(request: Request, most_dates: int) -> tuple[date, date]:
    """`start_date` and `end_date` of the average statistics, at most `most_dates` dates.

    Args:
        request: the request.
        most_dates: most calendar dates that are allowed.
    """
    first = date_parameter(request, "start_date", required=True)
    last = date_parameter(request, "end_date", required=True)
    if first is None or last is None:
        raise validation_error("query", "start_date", "field required")
    if last < first:
        raise ApiError(400, "end_date should not be earlier than start_date")
    if (last - first).days >= most_dates:
        raise ApiError(400, "The period should be less than or equal to 100 days")
    return first, last
