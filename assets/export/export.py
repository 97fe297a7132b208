"""Writes Parquet and CSV files, one folder for each dataset and month; unchanged months are left as they are."""

import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from sqlalchemy import Connection, Engine, text

from resources.database.advisory_lock import advisory_lock
from resources.load_sql import load_sql

if TYPE_CHECKING:
    import pyarrow as pa  # loaded when something is exported

_LOCK = "asleep-sync export"  # one export at a time, so that an erasure also reaches the files of one under way
_STATE = ".state"  # in each month's folder: checksums of its rows and columns, and the formats
_ARRAYS = frozenset({"sleep_stages", "breath_stages", "snoring_stages"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table or view, one Parquet and one CSV file for each month."""

    name: str
    relation: str
    order_by: str
    month: str = "night_month"  # SQL expression: first day of the month to which a row belongs
    key: str | None = None  # of a row of `relation`; None where sessions show which months changed
    left_out: frozenset[str] = frozenset()

    @property
    def source(self) -> tuple[str, str, str]:
        """By whose rows a changed month is recognised: relation, SQL expression of the month, columns of the key."""
        if self.key is None:
            return "asleep.sleep_sessions", "night_month", "session_id"
        return self.relation, self.month, self.key


_SESSIONS_ORDER = "user_id, session_start_time, session_id"
_MONTH_KEY, _PERIOD_KEY = "user_id, month", "user_id, period, period_start"
_OF_PERIOD, _OF_EPOCH = "date_trunc('month', period_start)::date", "date_trunc('month', night_date)::date"

DATASETS = (
    Dataset("sessions", "asleep.sleep_sessions", _SESSIONS_ORDER, left_out=_ARRAYS | {"payload_hash"}),
    Dataset("nights", "asleep.nights", "user_id, night_date"),
    Dataset("monthly_averages", "asleep.monthly_averages", _MONTH_KEY, month="month", key=_MONTH_KEY),
    Dataset("sleep_metrics", "asleep.sleep_metrics", _PERIOD_KEY, month=_OF_PERIOD, key=_PERIOD_KEY),
)
"""Exported by default."""

STAGES = Dataset("stages", "asleep.sleep_sessions", _SESSIONS_ORDER, left_out=frozenset({"payload_hash"}))
"""Sessions with their stage arrays."""

EPOCHS = Dataset("epochs", "asleep.sleep_stage_epochs", "user_id, session_id, epoch", month=_OF_EPOCH)
"""One row for each 30 seconds."""


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """The Dagster resource `export_target`."""

    directory: Path | None = None  # EXPORT_DIRECTORY; None: nothing is exported


class Exported(NamedTuple):
    """What an export did, in months and rows."""

    written: int
    unchanged: int
    removed: int  # months that no longer have rows; their files were removed
    rows: int


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export."""

    datasets: Sequence[Dataset] = DATASETS
    months: Collection[date] | None = None  # first days of the only months; None for all
    formats: Collection[str] = ("parquet", "csv")


def _no_progress(_name: str, _month: date) -> None:
    pass


def export(
    engine: Engine,
    directory: Path,
    request: ExportRequest = ExportRequest(),
    *,
    progress: Callable[[str, date], None] = _no_progress,
) -> Exported:
    """Write the months that changed since the last export into `directory/<dataset>/month=<YYYY-MM>/`.

    Files appear whole or not at all, and only their owner can read them.

    Args:
        engine: of the database with the tables.
        directory: created when it does not exist.
        request: datasets, months and formats to export.
        progress: called before each month with the dataset's name and the month's first day.
    """
    with advisory_lock(engine, _LOCK):
        return _export(engine, directory, request, progress)


def refresh(engine: Engine, directory: Path) -> Exported:
    """Write exported months that changed since, for instance by an erasure, again in the formats that they have.

    Args:
        engine: of the database with the tables.
        directory: of the export.
    """
    done = []
    with advisory_lock(engine, _LOCK):
        for dataset in (*DATASETS, STAGES, EPOCHS):
            folder, by_formats = directory / dataset.name, defaultdict[tuple[str, ...], list[date]](list)
            _remove_unfinished(folder)
            for path in folder.glob("month=*"):
                formats = tuple(sorted(file.suffix[1:] for file in path.glob(f"{dataset.name}.*")))
                by_formats[formats].append(date.fromisoformat(f"{path.name.removeprefix('month=')}-01"))
            for formats, months in by_formats.items():
                done.append(_export(engine, directory, ExportRequest((dataset,), months, formats), _no_progress))
    return _sum(done)


def _export(engine: Engine, directory: Path, request: ExportRequest, progress: Callable[[str, date], None]) -> Exported:
    done = []
    for dataset in request.datasets:
        folder = directory / dataset.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_unfinished(folder)
        with engine.connect() as connection:
            done.append(_Months(connection, folder, dataset, request).write(progress))
    return _sum(done)


def _sum(parts: Iterable[Exported]) -> Exported:
    return Exported(*map(sum, zip(Exported(0, 0, 0, 0), *parts, strict=True)))


@dataclass(frozen=True, slots=True)
class _Months:
    """The months of one dataset."""

    connection: Connection
    folder: Path
    dataset: Dataset
    request: ExportRequest

    def write(self, progress: Callable[[str, date], None]) -> Exported:
        """Write the months that changed, and remove those without rows."""
        columns, states = self.columns(), self.states()
        shape, formats = f"{zlib.crc32(str(columns).encode()):08x}", " ".join(sorted(self.request.formats))
        written = unchanged = rows = 0
        for month, state in states.items():
            if self.request.months is not None and month not in self.request.months:
                continue
            entry = f"{state} {shape} {formats}"
            if _read_state(self.folder / f"month={month:%Y-%m}") == entry:
                unchanged += 1
                continue
            progress(self.dataset.name, month)
            rows += self.write_month(month, columns, entry)
            written += 1
        gone = {path.name for path in self.folder.glob("month=*")} - {f"month={month:%Y-%m}" for month in states}
        for name in gone:
            shutil.rmtree(self.folder / name)
        return Exported(written, unchanged, len(gone), rows)

    def columns(self) -> "pa.Schema":
        """The dataset's columns."""
        from assets.export.arrow_files import schema_of

        found = self.connection.execute(load_sql(__package__, "columns_of"), {"relation": self.dataset.relation})
        return schema_of({row.name: row.type for row in found if row.name not in self.dataset.left_out})

    def states(self) -> dict[date, str]:
        """Return for each month with rows a text that changes when a row is added, updated or removed."""
        relation, month, key = self.dataset.source
        row = f"({key}, xmin)::text"  # xmin: the last writer
        query = (
            f"SELECT {month} AS month, concat(count(*), '-', bit_xor(hashtextextended({row}, 0))) AS state "
            f"FROM {relation} WHERE {month} IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
        return {row.month: row.state for row in self.connection.execute(text(query))}

    def write_month(self, month: date, columns: "pa.Schema", entry: str) -> int:
        """Write a month and its state into a temporary folder, then move it into place; returns the number of rows.

        Args:
            month: its first day.
            columns: of the files.
            entry: the state.
        """
        from assets.export.arrow_files import write_parquet

        target = self.folder / f"month={month:%Y-%m}"
        unfinished = target.with_name(f".{target.name}")
        unfinished.mkdir(mode=0o700)
        try:
            csv = unfinished / f"{self.dataset.name}.csv"
            rows = self.copy_out(csv, month, columns)
            if "parquet" in self.request.formats:
                parquet = unfinished / f"{self.dataset.name}.parquet"
                _open_private(parquet).close()
                write_parquet(csv, parquet, columns)
            if "csv" not in self.request.formats:
                csv.unlink()
            with _open_private(unfinished / _STATE) as file:
                file.write(entry.encode())
            shutil.rmtree(target, ignore_errors=True)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return rows

    def copy_out(self, csv: Path, month: date, columns: "pa.Schema") -> int:
        """COPY of one month into a file; returns the number of rows."""
        from pyarrow.types import is_list

        shown = ", ".join(f"to_json({c.name}) AS {c.name}" if is_list(c.type) else c.name for c in columns)
        query = (
            f"COPY (SELECT {shown} FROM {self.dataset.relation} WHERE {self.dataset.month} = '{month:%Y-%m-%d}' "
            f"ORDER BY {self.dataset.order_by}) TO STDOUT WITH (FORMAT csv, HEADER)"
        )
        driver = self.connection.connection.driver_connection
        assert driver is not None  # noqa: S101 the connection is open
        with _open_private(csv) as file, driver.cursor() as cursor:
            cursor.copy_expert(query, file)
            return int(cursor.rowcount)


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed export left: it may hold a user who was erased since."""
    for path in folder.glob(".month=*"):
        shutil.rmtree(path)


def _open_private(file: Path) -> BinaryIO:
    """Open a file for writing that only its owner may read."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    return file.open("wb")


def _read_state(folder: Path) -> str:
    with suppress(FileNotFoundError):
        return (folder / _STATE).read_text("utf-8")
    return ""
