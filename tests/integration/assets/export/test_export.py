"""Parquet and CSV files equal the tables, appear whole, and are private."""

import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from assets.export import arrow_files
from assets.export.export import DATASETS, EPOCHS, STAGES, Dataset, ExportRequest, export, refresh
from assets.metrics.monthly_summary import summarise
from assets.metrics.sleep_metrics import compute_metrics
from resources.database.users.erase import Erasures
from tests.warehouse_sessions import session, slept, store

OCTOBER = datetime(2026, 10, 10, 14, tzinfo=UTC)
ALICE, BOB = 'Alice, "A"', "Bob\n2"


@pytest.fixture(autouse=True)
def _filled(engine: Engine) -> Iterator[None]:
    """Store two users with nights in two months, texts that CSV must quote, and arrays."""
    with engine.begin() as connection:
        for user in (ALICE, BOB):
            connection.execute(
                text("INSERT INTO asleep.users (user_id, source) VALUES (:user, 'import')"), {"user": user}
            )
            nights = [
                session(user, OCTOBER + timedelta(days=day), slept(), sleep_stages=[-1, 0, 1, 2, 3], snoring_stages=[])
                for day in (0, 1, 31)
            ]
            odd = session(user, OCTOBER + timedelta(days=2), None, peculiarities=('odd "flag", with comma',))
            store(connection, [*nights, odd])
        summarise(connection)
    compute_metrics(engine, date(2026, 11, 28))
    yield
    with engine.begin() as connection:
        for table in (
            "users",
            "sleep_sessions",
            "monthly_averages",
            "sleep_metrics",
            "stale_months",
            "session_payloads",
        ):
            connection.execute(text(f"DELETE FROM asleep.{table}"))


def read(directory: Path, dataset: str) -> pd.DataFrame:
    files = sorted((directory / dataset).glob("month=*/*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def plain(value: Any) -> Any:
    """Convert a value of numpy or pandas to a plain one."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(each) for each in value]
    if value is pd.NaT or (isinstance(value, float) and value != value):  # noqa: PLR0124 not a number
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


@pytest.mark.parametrize("dataset", [*DATASETS, STAGES, EPOCHS], ids=lambda dataset: dataset.name)
def test_pandas_and_duckdb_read_what_the_table_holds(engine: Engine, tmp_path: Path, dataset: Dataset):
    """Equal types and values: nullable integers, instants with their zone, clock times, lists."""
    export(engine, tmp_path, ExportRequest([dataset]))

    with engine.connect() as connection:
        query = f"SELECT * FROM {dataset.relation} ORDER BY {dataset.month}, {dataset.order_by}"
        expected = [dict(row) for row in connection.execute(text(query)).mappings()]
    assert expected
    by_pandas = read(tmp_path, dataset.name).to_dict("records")
    files = f"read_parquet('{tmp_path}/{dataset.name}/*/*.parquet', hive_partitioning = false)"
    duckdb.sql("SET TimeZone = 'UTC'")
    by_duckdb = duckdb.sql(f"SELECT * FROM {files}")
    names = [name for name in expected[0] if name not in dataset.left_out]
    for rows in (by_pandas, [dict(zip(by_duckdb.columns, row, strict=True)) for row in by_duckdb.fetchall()]):
        assert len(rows) == len(expected)
        for row, truth in zip(rows, expected, strict=True):
            assert list(row) == names
            assert {name: plain(value) for name, value in row.items()} == {name: plain(truth[name]) for name in names}


def test_duckdb_reads_all_months_at_once(engine: Engine, tmp_path: Path):
    """DuckDB, Spark and pandas understand the folders as partitions."""
    export(engine, tmp_path)

    parquet = f"read_parquet('{tmp_path}/nights/*/*.parquet', hive_partitioning = true)"
    nights = duckdb.sql(f"SELECT night_month, count(*) FROM {parquet} GROUP BY 1 ORDER BY 1").fetchall()
    users = duckdb.sql(f"SELECT count(DISTINCT user_id) FROM read_csv('{tmp_path}/sessions/*/*.csv')").fetchall()

    assert nights == [(date(2026, 10, 1), 4), (date(2026, 11, 1), 2)]
    assert users == [(2,)]


def test_only_months_that_changed_are_written(engine: Engine, tmp_path: Path):
    """Also after an update that leaves `updated_at` as it is, such as that of `completed_time`."""
    first = export(engine, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")}
    assert export(engine, tmp_path).written == 0
    change = "UPDATE asleep.sleep_sessions SET completed_time = '2026-11-12 07:00+00' WHERE night_month = :month"
    with engine.begin() as connection:
        connection.execute(text(change), {"month": date(2026, 11, 1)})

    second = export(engine, tmp_path)

    assert first.written > second.written == 2
    changed = {file.parent.name for file, moment in before.items() if file.stat().st_mtime_ns != moment}
    assert changed == {"month=2026-11"}
    november = pd.read_parquet(tmp_path / "sessions" / "month=2026-11" / "sessions.parquet")
    assert set(november["completed_time"]) == {pd.Timestamp("2026-11-12 07:00", tz="UTC")}
    narrower = [replace(dataset, left_out=dataset.left_out | {"sleep_index"}) for dataset in DATASETS[:1]]
    assert export(engine, tmp_path, ExportRequest(narrower)).written == 2, "an upgrade may change the columns"


def test_files_are_private_and_an_interrupted_export_leaves_none_half_written(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Health data are private, and a reader must never get half a month."""

    def fail(*_: object) -> int:
        raise OSError("no space left on device")

    directory = tmp_path / "data"
    with monkeypatch.context() as full:
        full.setattr("assets.export.arrow_files.write_parquet", fail)
        with pytest.raises(OSError, match="no space left"):
            export(engine, directory)
    assert {path.name for path in directory.rglob("*") if path.is_file()} == set()

    export(engine, directory)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


def test_an_erasure_reaches_every_format_a_running_export_and_what_a_killed_one_left(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`forget` reports success, so no file may hold the person afterwards."""
    october, november = date(2026, 10, 1), date(2026, 11, 1)
    export(engine, tmp_path, ExportRequest([EPOCHS], [october], ("parquet",)))
    export(engine, tmp_path, ExportRequest([EPOCHS], [november], ("csv",)))
    killed = tmp_path / "stages" / ".month=2026-11"
    killed.mkdir(parents=True)
    (killed / "stages.csv").write_text(BOB)

    def move_and_interrupt(old: Path, new: Path) -> None:
        shutil.move(old, new)
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(Path, "rename", move_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(engine, tmp_path, ExportRequest(DATASETS[1:2]))
    assert list((tmp_path / "nights").glob("month=*")), "in place when the process was killed"
    copied, refreshing = Event(), list[Future[Any]]()
    convert = arrow_files.write_parquet

    def erase_meanwhile(*arguments: Any) -> int:
        if not copied.is_set():
            copied.set()
            with engine.begin() as connection:
                Erasures(connection).erase(BOB, "requested")
            refreshing.append(threads.submit(refresh, engine, tmp_path))
            with pytest.raises(TimeoutError):
                refreshing[0].result(timeout=0.5)
        return convert(*arguments)

    monkeypatch.setattr(arrow_files, "write_parquet", erase_meanwhile)
    with ThreadPoolExecutor(1) as threads:
        export(engine, tmp_path, ExportRequest(DATASETS[:1]))
        refreshing[0].result(timeout=60)

    assert {path.name for path in (tmp_path / "epochs").glob("*/epochs.*")} == {"epochs.parquet", "epochs.csv"}
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        if file.suffix == ".parquet":
            assert set(pd.read_parquet(file)["user_id"]) == {ALICE}
        else:
            assert "Bob" not in file.read_text("utf-8")
    assert not killed.exists()


def test_epochs_of_a_named_month(engine: Engine, tmp_path: Path):
    """Rows of 30 seconds are exported for named months only."""
    request = ExportRequest(datasets=(EPOCHS,), months=[date(2026, 11, 1)], formats=("parquet",))

    assert export(engine, tmp_path, request).rows == 10
    assert list(read(tmp_path, "epochs")["sleep_stage"][:5]) == [-1, 0, 1, 2, 3]
