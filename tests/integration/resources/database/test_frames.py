"""DataFrames of nights, epochs, averages and metrics: dtypes, filters, chunks."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Connection, text
from warehouse_sessions import session, slept, store

from assets.metrics.monthly_summary import summarise
from resources.database import frames

EVENING = datetime(2026, 3, 6, 14, tzinfo=UTC)


@pytest.fixture
def analyst(connection: Connection) -> Connection:
    """Three nights of two users each, read with an analyst's rights."""
    for user_id in ("one", "two"):
        for day in range(3):
            start = EVENING + timedelta(days=day)
            stat = slept(sleep_time=start + timedelta(minutes=10), deep_latency=None if day else 900)
            store(connection, [session(user_id, start, stat, sleep_stages=(0, 1, 2, -1, 3))])
    summarise(connection)
    connection.execute(text("GRANT asleep_analyst TO current_user"))
    connection.execute(text("SET LOCAL ROLE asleep_analyst"))
    return connection


def test_nights_have_the_dtypes_that_pandas_computes_with(analyst: Connection):
    """A date as object cannot be resampled, a nullable integer as float hides what is missing."""
    nights = frames.nights(analyst)

    assert len(nights) == 6
    assert nights["night_date"].dtype == "datetime64[s]"
    assert nights["session_start_time"].dtype == "datetime64[us, UTC]"
    assert nights["sleep_time_local"].dtype == "datetime64[us]"
    assert nights["deep_latency"].dtype == "Int64"
    assert nights["deep_latency"].isna().tolist() == [False, True, True] * 2
    assert nights["is_valid_night"].dtype == "boolean"
    assert nights["sleep_efficiency"].dtype == "float64"
    assert nights.resample("W", on="night_date")["time_in_sleep"].sum().sum() == 6 * 26400


def test_clock_times_are_timedeltas(analyst: Connection):
    """Hours after midnight can be subtracted, plotted and averaged."""
    months = frames.monthly_averages(analyst, users=["one"])

    assert months["avg_onset_of_night"].tolist() == [pd.Timedelta(hours=23, minutes=10)]
    assert months["month"].dtype == "datetime64[s]"


def test_only_the_requested_rows_are_read(analyst: Connection):
    """By user and dates, both dates included."""
    some = frames.nights(analyst, users=["two"], first=date(2026, 3, 8), last=date(2026, 3, 8))

    assert [(row.user_id, row.night_date.day) for row in some.itertuples()] == [("two", 8)]
    assert frames.nights(analyst, users=["nobody"]).empty
    assert frames.nights(analyst, users=["nobody"])["night_date"].dtype == "datetime64[s]"


def test_only_the_requested_columns_are_read(analyst: Connection):
    """In the order asked for; stages of a session come as a list."""
    some = frames.read(analyst, "sleep_sessions", users=["one"], columns=["sleep_stages", "night_date"])

    assert list(some) == ["sleep_stages", "night_date"]
    assert some["sleep_stages"].tolist() == [[0, 1, 2, -1, 3]] * 3
    assert some["night_date"].dtype == "datetime64[s]"


def test_chunks_hold_every_row_once(analyst: Connection):
    """A year of epochs of everybody does not fit into memory."""
    chunks = list(frames.read_chunks(analyst, "sleep_stage_epochs", rows=7))

    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 2]
    assert {tuple(chunk.dtypes.astype(str)) for chunk in chunks} == {tuple(chunks[0].dtypes.astype(str))}
    assert pd.concat(chunks)["sleep_stage"].sum() == 6 * 5
    assert len(frames.epochs(analyst, users=["one"])) == 15


def test_metrics_and_the_calendar_can_be_read(analyst: Connection):
    """Without rows they have their columns all the same."""
    assert "sleep_regularity_index" in frames.sleep_metrics(analyst)
    assert "status" in frames.calendar(analyst)
