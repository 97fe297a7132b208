"""The demo's tables on a day that stands still: against plain Python from the simulator's truth, and as printed."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from statistics import mean, median, quantiles
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from assets.metrics.monthly_summary import summarise
from assets.metrics.sleep_metrics import compute_metrics
from pipelines.cli.development.simulated_api import Size
from resources.asleep.records import SleepSession, Stat
from resources.database.users.registry import Registry
from simulator.expected_tables import expected_row, zone_of_session
from tests.conftest import ROOT, Simulator
from tests.expected_averages import DAY, Spans, circular_mean, expected, recorded, same
from tests.expected_nights import episodes_of, expected_nights
from tests.integration.assets.sync.conftest import Syncing

SIZE, TODAY = Size(), date(2026, 5, 31)
FIRST_DAY = TODAY - timedelta(days=SIZE.days - 1)
PAGE = ROOT / "docs" / "how-to" / "cookbook.md"
SHOWN_ROWS = 3
OF_THE_MOMENT = {
    "asked_at", "oldest_sync_at", "newest_sync_at", "newest_session_written_at", "newest_change_at", "new_position",
    "last_synced_at",
}  # fmt: skip
"""Columns whose values depend on when the sync ran; so does the order of the change feed."""


@dataclass(frozen=True)
class Demo:
    """The tables, and the truth of the sessions in them."""

    engine: Engine
    rows: dict[str, dict[str, Any]]
    """What each session's row must hold, by id."""

    def sessions(self) -> list[SleepSession]:
        """The same as records, in their local zones."""
        return [
            SleepSession(
                **{name: row[name] for name in SleepSession.__slots__ if name in row and name != "stat"}
                | {"created_timezone": row["local_zone"], "peculiarities": tuple(row["peculiarities"] or ())},
                stat=Stat(**{name: row[name] for name in Stat._fields}) if row["time_in_bed"] is not None else None,
                raw=b"", payload_hash=b"", asked_at=row["session_start_time"],
            )
            for row in self.rows.values()
        ]  # fmt: skip

    def read(self, query: str) -> list[dict[str, Any]]:
        """Rows of the database."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.exec_driver_sql(query).mappings()]


@pytest.fixture(scope="module")
def demo(engine: Engine, simulate: Callable[..., AbstractContextManager[Simulator]]) -> Demo:
    """40 users and 60 days, as `make demo` makes them."""
    with simulate(*SIZE.options, "--now", f"{TODAY}T12:00:00Z") as api:
        with engine.begin() as connection:
            Registry(connection).register([user["user_id"] for user in api.ask("users")], "demo")
        Syncing(engine, api.url)(FIRST_DAY, TODAY)
        truth = api.ask("truth")
    with engine.begin() as connection:
        summarise(connection)
        stored = set(connection.scalars(text("SELECT session_id FROM asleep.sleep_sessions WHERE deleted_at IS NULL")))
    compute_metrics(engine, TODAY)
    rows = {}
    for user in truth["users"]:
        own = [session for session in user["sessions"] if session["row"]["session_id"] in stored]
        for session in own:
            row = expected_row(session, user["user_id"], zone_of_session(session, own, None))
            rows[row["session_id"]] = row
    return Demo(engine, rows)


def wrong(ours: dict[Any, dict[str, Any]], theirs: dict[Any, dict[str, Any]], *beside: str) -> list[Any]:
    """Where rows differ; every column but those named is compared."""
    assert ours.keys() == theirs.keys()
    assert ours
    assert all({*theirs[key], *beside} == row.keys() for key, row in ours.items())
    return [
        (key, name, ours[key][name], value)
        for key, values in theirs.items()
        for name, value in values.items()
        if not same(ours[key][name], value)
    ]


def sums(rows: Sequence[dict[str, Any]], name: str) -> Any:
    """The sum of what is known."""
    known = [row[name] for row in rows if row[name] is not None]
    return sum(known) if known else None


def ratio(over: float | None, under: float | None) -> float | None:
    """One by the other where both are known."""
    return over / under if over is not None and under else None


def night(pieces: Sequence[dict[str, Any]], roles: Any, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every column of a night from the rows of its main sleep, in order of time, and the date's other sessions."""
    first, is_single = pieces[0], len(pieces) == 1
    starts = [row["session_start_time"] for row in pieces]
    spans = [(row["asleep_from"], row["asleep_until"]) for row in pieces]
    ends = [row["session_end_time"] for row in pieces if row["session_end_time"]]
    onset, wake = min(a for a, _ in spans), max(b for _, b in spans)
    gap = max(0.0, ((wake - onset) - sum((b - a for a, b in spans), timedelta())).total_seconds())
    in_bed = first["time_in_bed"] if is_single else (max(ends) - min(starts)).total_seconds() if ends else None
    onset_local = min(pieces, key=lambda row: row["asleep_from"])["asleep_from_local"]
    wake_local = max(pieces, key=lambda row: row["asleep_until"])["asleep_until_local"]
    naps = [row for row in others if roles[row["session_id"]].night_role == "nap"]
    in_naps = sums(naps, "time_in_sleep") or 0
    asleep = sums(pieces, "time_in_sleep")
    period = sums(pieces, "time_in_sleep_period")
    missing = max((row["missing_data_ratio"] or 0 for row in pieces), default=0)
    if not is_single and period is not None:
        period += gap
    found = {
        **{name: first[name] for name in ("user_id", "night_date", "night_month", "session_id")},
        **{name: first[name] for name in ("local_zone", "zone_source", "peculiarities", "sleep_latency")},
        "created_timezone": first["created_timezone"], "status": "recorded", "sessions": len(pieces),
        "is_valid_night": (in_bed or 0) >= 3 * 3600 and missing <= 0.2,
        "session_start_time": min(starts), "session_end_time": max(ends, default=None),
        "session_start_local": min(row["session_start_local"] for row in pieces),
        "session_end_local": max(filter(None, (row["session_end_local"] for row in pieces)), default=None),
        "asleep_from": onset, "asleep_until": wake, "sleep_time_local": onset_local,
        "wake_time_local": wake_local, "midpoint_local": onset_local + (wake_local - onset_local) / 2,
        "time_in_bed": in_bed, "time_in_sleep_period": period, "time_in_sleep": asleep,
        "sleep_efficiency": ratio(asleep, in_bed), "missing_data_ratio": missing,
        "naps": len({roles[row["session_id"]].episode_id for row in naps}), "time_in_sleep_of_naps": in_naps,
        "time_in_sleep_of_date": asleep + in_naps,
        "doubtful_sessions": sum(roles[row["session_id"]].night_role == "doubtful" for row in others),
        "overlapping_sessions": sum(roles[row["session_id"]].night_role == "overlapping" for row in others),
        "never_slept_sessions": sum(never_slept(row) for row in others),
    }  # fmt: skip
    for name in (
        "time_in_light",
        "time_in_deep",
        "time_in_rem",
        "time_in_snoring",
        "sleep_cycle_count",
        "snoring_count",
    ):
        found[name] = sums(pieces, name)
    found["time_in_wake"] = sums(pieces, "time_in_wake") + (0 if is_single else gap)
    found["waso_count"] = sums(pieces, "waso_count") + len(pieces) - 1
    for name in ("sleep_index", "light_latency", "deep_latency", "rem_latency", "wakeup_latency", "breathing_index",
                 "longest_waso", "sleep_cycle"):  # fmt: skip
        found[name] = first[name] if is_single else None
    for name in ("light", "deep", "rem", "wake", "snoring"):
        found[f"{name}_ratio"] = first[f"{name}_ratio"] if is_single else ratio(found[f"time_in_{name}"], period)
    return found


def never_slept(row: dict[str, Any]) -> bool:
    """A finished session in which no sleep was found."""
    return row["state"] == "COMPLETE" and ("NEVER_SLEPT" in (row["peculiarities"] or ()) or row["time_in_sleep"] == 0)


def test_every_column_of_nights_follows_from_the_truth(demo: Demo):
    """Episodes, naps and sessions set aside of 40 users; a night that begins in the evening is no nap."""
    records = demo.sessions()
    theirs: dict[Any, dict[str, Any]] = {}
    naps_at_night = 0
    for user_id in sorted({each.user_id for each in records}):
        marked = {each.session_id: recorded(each, records, None) for each in records if each.user_id == user_id}
        roles = expected_nights(marked.values())
        rows = {}
        for name, own in marked.items():
            date_of_night = roles[name].night_date
            rows[name] = demo.rows[name] | {
                "night_date": date_of_night, "night_month": date_of_night.replace(day=1),
                "asleep_from": own.asleep_at, "asleep_until": own.awake_at,
                "asleep_from_local": own.to_local(own.asleep_at).replace(tzinfo=None),
                "asleep_until_local": own.to_local(own.awake_at).replace(tzinfo=None),
            }  # fmt: skip
        for episode in episodes_of(marked.values()):
            pieces = [rows[piece.session_id] for piece in episode]
            start = pieces[0]["session_start_local"]
            if roles[episode[0].session_id].night_role == "main":
                inside = {piece.session_id for piece in episode}
                day = pieces[0]["night_date"]
                others = [row for name, row in rows.items() if row["night_date"] == day and name not in inside]
                theirs[user_id, day] = night(pieces, roles, others)
            elif sums(pieces, "time_in_sleep") >= 3 * 3600 and not 4 <= start.hour < 20:
                naps_at_night += 1
    ours = {(row["user_id"], row["night_date"]): row for row in demo.read("SELECT * FROM asleep.nights")}

    assert wrong(ours, theirs) == []
    assert len(ours) >= 2040
    assert naps_at_night <= 12


def test_every_column_of_the_averages_follows_from_the_truth(demo: Demo):
    """The averages, their change to the month before, and the organisation's months."""
    [ledger] = demo.read(
        "SELECT min(lower(span)) AS first, max(upper(span)) AS last FROM asleep.sync_ledger, unnest(covered) AS span"
    )
    covered: Spans = ((ledger["first"], ledger["last"]),)
    theirs = expected(demo.sessions(), None, covered, datetime.now(UTC).date())
    rows = demo.read("SELECT * FROM asleep.monthly_averages")
    ours = {(row["user_id"], row["month"]): row for row in rows}

    assert wrong(ours, theirs, "user_id", "month", "computed_at") == []
    months = {(row["user_id"], row["month"]): row for row in demo.read("SELECT * FROM asleep.user_months")}
    assert wrong(months, {key: row | changes(row, before(ours, row)) for key, row in ours.items()}) == []
    overview = {row["month"]: row for row in demo.read("SELECT * FROM asleep.monthly_overview")}
    assert wrong(overview, {month: total(rows, month) for month in {row["month"] for row in rows}}) == []


def before(rows: dict[Any, dict[str, Any]], row: dict[str, Any]) -> dict[str, Any] | None:
    """The same user's row of the month before."""
    return rows.get((row["user_id"], (row["month"] - timedelta(days=1)).replace(day=1)))


def changes(this: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """Columns of `user_months` beside those of `monthly_averages`."""

    def since(name: str) -> float | None:
        now, then = this[name], earlier[name] if earlier else None
        if now is None or then is None:
            return None
        if isinstance(now, time):
            return ((seconds(now) - seconds(then) + DAY / 2) % DAY - DAY / 2) / 60
        return now - then

    plain = ("time_in_sleep_of_date", "efficiency_of_night", "time_in_bed", "time_in_sleep", "time_in_light",
             "time_in_deep", "time_in_rem", "sleep_latency", "sleep_efficiency", "sleep_index", "waso_count",
             "snoring_ratio")  # fmt: skip
    clocks = ("onset_of_night", "wake_of_night", "sleep_time", "wake_time")
    kept = ("nights", "avg_time_in_sleep", "avg_time_in_sleep_of_date")
    return {
        "change_in_nights": since("nights"),
        **{f"{name}_before": earlier[name] if earlier else None for name in kept},
        **{f"change_in_{name}": since(f"avg_{name}") for name in plain},
        **{f"change_in_{name}_minutes": since(f"avg_{name}") for name in clocks},
    }


def seconds(clock: time) -> int:
    """After midnight."""
    return clock.hour * 3600 + clock.minute * 60 + clock.second


def total(rows: Sequence[dict[str, Any]], month: date) -> dict[str, Any]:
    """The organisation's month."""
    own = [row for row in rows if row["month"] == month]

    def known(name: str) -> list[Any]:
        return [row[name] for row in own if row[name] is not None]

    sleeping = len([row for row in own if row["slept_sessions"]])
    found: dict[str, Any] = {"month": month, "users": len(own), "sleeping_users": sleeping}
    for name in ("sessions", "slept_sessions", "never_slept_sessions", "unanalysed_sessions", "nights", "naps"):
        found[name] = sum(known(name))
    found["nights_per_user"] = found["nights"] / sleeping
    for name in ("sleep_time", "wake_time", "onset_of_night", "wake_of_night"):
        found[f"avg_{name}"] = circular_mean(pd.Series([seconds(clock) for clock in known(f"avg_{name}")]))
    for name in ("time_in_sleep_of_date", "efficiency_of_night", "latency_of_night", "waso_of_night", "time_in_bed",
                 "time_in_sleep", "time_in_wake", "time_in_light", "time_in_deep", "time_in_rem", "sleep_latency",
                 "sleep_efficiency", "light_ratio", "deep_ratio", "rem_ratio", "wake_ratio", "snoring_ratio",
                 "sleep_index", "waso_count", "breathing_index"):  # fmt: skip
        found[f"avg_{name}"] = mean(known(f"avg_{name}"))
    for name in ("time_in_sleep_of_date", "time_in_sleep"):
        found[f"median_{name}"] = median(known(f"avg_{name}"))
    low, _, high = quantiles(known("avg_efficiency_of_night"), n=4, method="inclusive")
    return found | {"lower_quartile_efficiency_of_night": low, "upper_quartile_efficiency_of_night": high}


def test_the_cookbooks_results_are_the_demos(demo: Demo):
    """Printed figures that no query returns would mislead. Remedy: RENEW=1 with this test, then read the difference."""
    page = PAGE.read_text("utf-8")
    setup = re.search(r"^SELECT user_id AS \"user\".*?(?= \\gset)", page, flags=re.MULTILINE | re.DOTALL)
    assert setup is not None
    [chosen] = demo.read(setup[0])
    heading, *questions = re.split(r"(?m)^(?=## \d+\. )", page)
    renewed = heading
    for question in questions:
        asked, sql, _ = re.split(r"(?s)```sql\n(.+?;)\n```\n", question)
        query = re.sub(r":'(\w+)'", lambda name: f"'{chosen[name[1]]}'", sql)
        renewed += f"{asked}```sql\n{sql}\n```\n\n{printed(demo.read(query))}\n\n"
    if os.environ.get("RENEW"):
        PAGE.write_text(renewed.rstrip() + "\n", "utf-8")
        page = PAGE.read_text("utf-8")

    assert len(questions) == 20
    assert page == renewed.rstrip() + "\n"


def printed(rows: Sequence[dict[str, Any]]) -> str:
    """The first rows as a table, and how many there are."""
    if not rows:
        return "No rows."
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    hidden = OF_THE_MOMENT | ({"session_id", "user_id"} if "new_position" in rows[0] else set())
    lines += [
        ["…" if name in hidden else cell(name, value) for name, value in row.items()] for row in rows[:SHOWN_ROWS]
    ]
    table = "\n".join("|" + "|".join(x if x == "---" else f" {x} " for x in line) + "|" for line in lines)
    return table + (f"\n\n… {len(rows):,} rows in all." if len(rows) > SHOWN_ROWS else "")


def cell(name: str, value: Any) -> str:
    """A value as psql shows it; ids are cut."""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, list):
        return "{" + ",".join(value) + "}"
    if isinstance(value, float | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else f"{value:g}"
    shown = "" if value is None else f"{value}"
    return f"{shown[:12]}…" if name in {"user_id", "session_id"} and value is not None else shown
