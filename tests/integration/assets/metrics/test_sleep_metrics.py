"""Metrics of weeks and months: an independent computation, and which periods are recomputed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from math import atan2, cos, hypot, log, pi, sin, sqrt, tau
from statistics import mean, stdev
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from expected_nights import Recorded, date_of, episodes_of, expected_nights
from sqlalchemy import Connection, Engine, text
from warehouse_sessions import session, slept, store

from assets.metrics.monthly_summary import months_to_recompute, summarise
from assets.metrics.sleep_metrics import Computed, compute_metrics
from resources.asleep.records import SleepSession
from resources.database.schema.metrics_table import sleep_metrics
from resources.database.schema.tables import monthly_averages
from resources.database.sync.sync_state import FinishedUser, SyncState

TODAY = date(2026, 11, 10)
ZONES = {"one": "Asia/Seoul", "two": "Europe/Berlin", "three": "America/New_York"}
WEEKEND = {6, 7}
EPOCH = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> Iterator[None]:
    """These tests commit, so each leaves the tables empty."""
    with engine.begin() as connection:
        for user_id in ZONES:
            connection.execute(
                text("INSERT INTO asleep.users (user_id, source) VALUES (:id, 'import')"), {"id": user_id}
            )
            connection.execute(
                text(
                    "INSERT INTO asleep.sync_ledger (user_id, window_start, window_end, listed_at, detail, covered) "
                    "VALUES (:id, '2026-10-20', '2026-11-09', '2026-11-09', 'full', '{[2026-10-20, 2026-11-09)}')"
                ),
                {"id": user_id},
            )
    yield
    with engine.begin() as connection:
        for table in ("sleep_sessions", "session_payloads", "sleep_metrics", "stale_periods", "stale_months", "users",
                      "sync_ledger", "monthly_averages"):  # fmt: skip
            connection.execute(text(f"DELETE FROM asleep.{table}"))


def recording(user_id: str, start_local: datetime, hours: float, number: int = 0) -> SleepSession:
    """A session with stages that differ from night to night: wake, sleep, unknown epochs, a cut tail."""
    zone = ZoneInfo(ZONES[user_id])
    start = start_local.replace(tzinfo=zone).astimezone(UTC)
    epochs = round(hours * 120)
    seed = start_local.day * 7 + number
    stages = [0] * (10 + seed % 13)
    while len(stages) < epochs - 9:
        stages += [1] * (40 + seed % 17) + [2] * 30 + [0] * (seed % 5) + [3] * 20 + [-1] * (seed % 3)
    stages = stages[: epochs - 9 - (seed % 2) * 4] + [0] * 9
    asleep = [n for n, stage in enumerate(stages) if stage > 0]
    first, last = asleep[0], asleep[-1] + 1
    stat = slept(
        time_in_sleep=30 * len(asleep), time_in_bed=30 * epochs, sleep_latency=30 * first,
        time_in_wake=30 * sum(stage == 0 for stage in stages[first:last]),
        sleep_time=start + first * EPOCH, wake_time=start + last * EPOCH,
    )  # fmt: skip
    return session(
        user_id, start, stat, ZONES[user_id], session_end_time=start + epochs * EPOCH, sleep_stages=tuple(stages),
        session_id=f"{start:%Y%m%d%H%M%S}_{user_id}{number}",
    )  # fmt: skip


def autumn() -> list[SleepSession]:
    """Five weeks around the end of summer time in Berlin (25 October) and New York (1 November)."""
    found = []
    for user_id, offset in (("one", 0.0), ("two", -0.75), ("three", 1.5)):
        for day in range(32):
            evening = datetime(2026, 10, 5) + timedelta(days=day, hours=23 + offset + (day * 37 % 11) / 8)  # noqa: DTZ001
            if day % 9 == 4 and user_id != "two":  # a recording that broke off, or none
                found += [recording(user_id, evening, 2)] if day == 13 else []
            else:
                found.append(recording(user_id, evening, 6 + (day * 13 % 7) / 3))
            if day % 6 == 2:
                found.append(recording(user_id, evening + timedelta(hours=15), 1.2, 1))
            if day % 10 == 7:  # the app was restarted
                found.append(recording(user_id, evening + timedelta(hours=9.2), 1.5, 2))
    return found


def as_recorded(each: SleepSession) -> Recorded:
    """What the rules of nights look at."""
    zone = ZoneInfo(each.created_timezone or "UTC")
    assert each.stat is not None
    return Recorded(
        each.session_id, each.user_id, each.session_start_time, each.session_end_time, True, each.stat.time_in_sleep,
        each.stat.sleep_time, each.stat.wake_time, to_local=lambda moment: moment.astimezone(zone),
    )  # fmt: skip


def naive(moment: datetime, zone: str) -> datetime:
    """The local clock."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def clock_mean(clocks: list[datetime | float]) -> tuple[float | None, float | None]:
    """Circular mean and standard deviation in seconds."""
    seconds = [
        c if isinstance(c, float) else c.hour * 3600 + c.minute * 60 + c.second + c.microsecond / 1e6 for c in clocks
    ]
    if not seconds:
        return None, None
    sine, cosine = (mean(f(s * tau / 86400) for s in seconds) for f in (sin, cos))
    spread = sqrt(-2 * log(min(1, hypot(sine, cosine)))) * 43200 / pi if len(seconds) > 1 else None
    return atan2(sine, cosine) * 43200 / pi % 86400, spread


class User:
    """One user's nights, by the stated rules."""

    def __init__(self, sessions: list[SleepSession]) -> None:
        self.sessions = {each.session_id: each for each in sessions}
        recorded = [as_recorded(each) for each in sessions]
        roles = expected_nights(recorded)
        self.zone = sessions[0].created_timezone or ""
        self.episodes = [(date_of(e), roles[e[0].session_id].night_role, e) for e in episodes_of(recorded)]
        self.mains = {day: episode for day, role, episode in self.episodes if role == "main"}

    def night(self, day: date) -> dict[str, Any]:
        """Figures of a main sleep."""
        pieces = self.mains[day]
        stats = [self.sessions[piece.session_id].stat for piece in pieces]
        onset, wake = pieces[0].asleep_at, max(piece.awake_at for piece in pieces)
        between = (wake - onset) - sum((p.awake_at - p.asleep_at for p in pieces), timedelta())
        asleep = sum(stat.time_in_sleep for stat in stats)
        bed = (pieces[-1].end - pieces[0].start).total_seconds()
        fell, woke = naive(onset, self.zone), naive(wake, self.zone)
        return {
            "onset": fell, "wake": woke, "midpoint": fell + (woke - fell) / 2, "asleep": asleep,
            "bed": bed, "latency": stats[0].sleep_latency, "length": (wake - onset).total_seconds(),
            "waso": sum(stat.time_in_wake for stat in stats) + (between.total_seconds() if len(pieces) > 1 else 0),
            "of_date": sum(p.time_in_sleep for d, _, e in self.episodes if d == day for p in e),
        }  # fmt: skip

    def days(self) -> dict[date, dict[datetime, int | None]]:  # noqa: C901 epoch by epoch
        """Epochs of each day, noon to noon, that has a main sleep: 1 asleep, 0 awake, None unknown."""
        found: dict[date, dict[datetime, int | None]] = {}
        for day in self.mains:
            middle = self.night(day)["midpoint"]
            label = (middle + timedelta(hours=12)).date()
            noon = datetime.combine(label, time(12)) - timedelta(days=1)
            found[label] = {noon + n * EPOCH: 0 for n in range(2880)}
        zone = ZoneInfo(self.zone)
        for value in (None, 1):
            for _, _, episode in self.episodes:
                for piece in episode:
                    own = self.sessions[piece.session_id]
                    stages = list(own.sleep_stages or ())
                    length = int((piece.end - piece.start).total_seconds() // 30)
                    stages += [-1] * (length - len(stages))
                    for n, stage in enumerate(stages):
                        if (1 if stage > 0 else None if stage < 0 else 0) != value:
                            continue
                        local = naive(piece.start + n * EPOCH, self.zone)
                        slot = local - timedelta(seconds=local.second % 30)
                        label = (slot + timedelta(hours=12)).date()
                        if label in found:
                            found[label][slot] = value
        for epochs in found.values():
            for slot in epochs:
                instants = {slot.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
                if len(instants) > 1:  # shown twice, or not at all
                    epochs[slot] = None
        return found

    def regularity(self, first: date, last: date, least: int) -> tuple[float | None, int]:
        """The index over pairs of days between two dates."""
        days, equal, compared, pairs = self.known_days, 0, 0, 0
        day = first + timedelta(days=1)
        while day <= last:
            before = days.get(day - timedelta(days=1))
            if day in days and before is not None:
                both = [(v, before[slot - timedelta(days=1)]) for slot, v in days[day].items()]
                known = [(a, b) for a, b in both if a is not None and b is not None]
                equal, compared, pairs = equal + sum(a == b for a, b in known), compared + len(known), pairs + 1
            day += timedelta(days=1)
        return (200 * equal / compared - 100 if pairs >= least else None), pairs

    @property
    def known_days(self) -> dict[date, dict[datetime, int | None]]:
        """The days, computed once."""
        if not hasattr(self, "_days"):
            self._days = self.days()
        return self._days

    def metrics(self, period: str, first: date) -> dict[str, Any]:
        """The row of one period."""
        last = first + timedelta(days=6)
        if period == "month":
            last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        recorded = [day for day in sorted(self.mains) if first <= day <= last]
        nights = {day: night for day in recorded if (night := self.night(day))["bed"] >= 3 * 3600}
        start = min(day for day, _, _ in self.episodes)
        dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        dates = [day for day in dates if start <= day < TODAY]
        synced = [day for day in dates if date(2026, 10, 21) <= day < date(2026, 11, 9)]
        row: dict[str, Any] = {
            "period_end": last, "is_complete": last < TODAY, "as_of": min(TODAY, last + timedelta(days=1)),
            "days": len(dates), "recorded_nights": len(recorded), "no_sleep_found_nights": 0,
            "not_analysable_nights": 0, "doubtful_nights": 0,
            "missing_nights": len([day for day in synced if day not in recorded]),
            "valid_nights": len(nights),
            "naps": sum(role == "nap" and first <= day <= last for day, role, _ in self.episodes),
            "definition_version": 3,
            "free_days": sorted(WEEKEND) if period == "month" else None,
        }  # fmt: skip
        row["not_synced_nights"] = row["days"] - row["recorded_nights"] - row["missing_nights"]
        row["coverage"] = len(recorded) / len(dates)
        for name, source in (
            ("time_in_sleep_of_date", "of_date"),
            ("latency_of_night", "latency"),
            ("waso_of_night", "waso"),
        ):
            row[f"avg_{name}"], row[f"sd_{name}"] = plain([night[source] for night in nights.values()])
        ratios = [night["asleep"] / night["bed"] for night in nights.values()]
        row["avg_efficiency_of_night"] = sum(n["asleep"] for n in nights.values()) / sum(
            n["bed"] for n in nights.values()
        )
        row["sd_efficiency_of_night"] = plain(ratios)[1]
        for name in ("onset", "wake", "midpoint"):
            row[f"avg_{name}_of_night"], row[f"sd_{name}_of_night"] = clock_mean([n[name] for n in nights.values()])
        span = (first, last, 7) if period == "month" else (last - timedelta(days=13), last, 5)
        row["sleep_regularity_index"], row["regularity_pairs"] = self.regularity(*span)
        return row | self.jetlag(nights if period == "month" else None)

    @staticmethod
    def jetlag(nights: dict[date, dict[str, Any]] | None) -> dict[str, Any]:
        """Free days against work days."""
        names = ("midsleep_free", "midsleep_work", "social_jetlag", "absolute_social_jetlag", "midsleep_free_corrected")
        row: dict[str, Any] = dict.fromkeys(("free_nights", "work_nights", *names))
        if nights is None:
            return row
        free = [n for day, n in nights.items() if day.isoweekday() in WEEKEND]
        work = [n for day, n in nights.items() if day.isoweekday() not in WEEKEND]
        row["free_nights"], row["work_nights"] = len(free), len(work)
        if len(free) < 2 or len(work) < 3:
            return row
        msf, msw = (clock_mean([n["midpoint"] for n in some])[0] or 0.0 for some in (free, work))
        long, short = (mean(n["length"] for n in some) for some in (free, work))
        week = (2 * long + 5 * short) / 7
        later = (msf - msw + 43200) % 86400 - 43200
        corrected = (msf - (long - week) / 2 if long > short else msf) % 86400
        return row | dict(zip(names, (msf, msw, later, abs(later), corrected), strict=True))


def plain(values: list[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation."""
    return (mean(values) if values else None), (stdev(values) if len(values) > 1 else None)


def same(ours: Any, theirs: Any) -> bool:
    """Equal but for floating point, and for clock times the rounding to whole seconds."""
    if ours is None or theirs is None or isinstance(theirs, date | bool):
        return ours == theirs
    if isinstance(ours, time):
        seconds = ours.hour * 3600 + ours.minute * 60 + ours.second
        return abs((seconds - theirs + 43200) % 86400 - 43200) <= 0.5001
    return ours == pytest.approx(theirs, rel=1e-9, abs=1e-6)


def rows(engine: Engine) -> dict[tuple[str, str, date], dict[str, Any]]:
    """The stored rows."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM asleep.sleep_metrics")).mappings()
        return {(row["user_id"], row["period"], row["period_start"]): dict(row) for row in found}


def write(engine: Engine, *sessions: SleepSession) -> None:
    """Store sessions and commit."""
    with engine.begin() as connection:
        store(connection, sessions)


def test_every_column_equals_an_independent_computation(engine: Engine):
    """Plain Python, epoch by epoch, over naps, restarts, missing nights and both changes of the clock."""
    sessions = autumn()
    write(engine, *sessions)
    compute_metrics(engine, TODAY)
    users = {user_id: User([s for s in sessions if s.user_id == user_id]) for user_id in ZONES}
    ours = rows(engine)
    expected = {key: users[key[0]].metrics(*key[1:]) for key in ours}
    wrong = [
        (key, name, ours[key][name], value)
        for key, values in expected.items()
        for name, value in values.items()
        if not same(ours[key][name], value)
    ]

    assert not wrong
    assert {name for values in expected.values() for name in values} == {
        column.name
        for column in sleep_metrics.c
        if column.name not in {"user_id", "period", "period_start", "computed_at"}
    }
    for user_id, user in users.items():
        months = {day.replace(day=1) for day, _, _ in user.episodes}
        weeks = {day - timedelta(days=day.weekday()) for day, _, _ in user.episodes}
        assert {key[1:] for key in ours if key[0] == user_id} == {
            *(("month", month) for month in months), *(("week", week) for week in weeks),
        }  # fmt: skip
    assert sum(row["sleep_regularity_index"] is not None for row in ours.values()) > 15
    assert sum(row["valid_nights"] < row["recorded_nights"] for row in ours.values()) == 4


def test_only_periods_whose_sessions_changed_are_recomputed(engine: Engine):
    """A night changes its week, the next week's regularity, and its month."""
    write(engine, *autumn())
    assert compute_metrics(engine, TODAY).periods > 20
    assert compute_metrics(engine, TODAY) == Computed(0, 0, 0)
    write(engine, recording("one", datetime(2026, 10, 14, 13), 1))  # noqa: DTZ001 the local clock
    with engine.connect() as connection:
        stale = connection.execute(text("SELECT period, period_start FROM asleep.stale_periods ORDER BY 1, 2")).all()

    assert [tuple(row) for row in stale] == [
        ("month", date(2026, 10, 1)), ("week", date(2026, 10, 12)), ("week", date(2026, 10, 19)),
    ]  # fmt: skip
    assert compute_metrics(engine, TODAY) == Computed(3, 3, 0)


def test_a_running_period_is_recomputed_on_the_next_day(engine: Engine):
    """Its coverage counts one more date, although no session changed."""
    write(engine, *(recording("one", datetime(2026, 11, day, 23), 7) for day in (2, 3)))  # noqa: DTZ001
    compute_metrics(engine, date(2026, 11, 5))
    week = ("one", "week", date(2026, 11, 2))
    before = rows(engine)[week]
    compute_metrics(engine, date(2026, 11, 6))

    with engine.connect() as connection:
        assert months_to_recompute(connection) == [date(2026, 11, 1)], "on every later day"
    assert (before["days"], before["coverage"]) == (2, 1.0)
    assert (rows(engine)[week]["days"], rows(engine)[week]["coverage"]) == (3, pytest.approx(2 / 3))


def test_a_period_without_sessions_vanishes(engine: Engine):
    """Metrics of sessions that no longer exist would be wrong."""
    write(engine, recording("one", datetime(2026, 10, 14, 23), 7))  # noqa: DTZ001
    compute_metrics(engine, TODAY)
    assert len(rows(engine)) == 2
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sleep_sessions SET deleted_at = now()"))
        connection.execute(
            text("INSERT INTO asleep.stale_periods SELECT user_id, period, period_start FROM asleep.sleep_metrics")
        )

    assert compute_metrics(engine, TODAY) == Computed(2, 0, 2)
    assert rows(engine) == {}


def test_other_free_days_or_definitions_make_periods_stale(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Social jetlag of months gone by would otherwise keep the old ones."""
    import assets.metrics.sleep_metrics as module

    write(engine, *autumn())
    compute_metrics(engine, TODAY)
    october = ("one", "month", date(2026, 10, 1))
    before = rows(engine)[october]["free_nights"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.users SET free_days = '{7, 6, 5}' WHERE user_id = 'one'"))

    assert compute_metrics(engine, TODAY).periods == 2
    assert rows(engine)[october]["free_nights"] > before
    assert compute_metrics(engine, TODAY).periods == 0
    assert compute_metrics(engine, TODAY, frozenset({3})).periods == 4, "of the users without free days of their own"
    assert compute_metrics(engine, TODAY, frozenset({3})).periods == 0
    monkeypatch.setattr(module, "DEFINITION_VERSION", 99)
    assert compute_metrics(engine, TODAY, frozenset({3})).periods == len(rows(engine))
    assert {row["definition_version"] for row in rows(engine).values()} == {99}


def test_periods_are_recomputed_when_a_sync_covers_more_dates(engine: Engine):
    """Dates that were not synced turn into missing nights, although no session changed."""
    write(engine, recording("one", datetime(2026, 10, 14, 23), 7), recording("one", datetime(2026, 10, 24, 23), 7))  # noqa: DTZ001
    compute_metrics(engine, TODAY)
    with engine.begin() as connection:
        summarise(connection)

    def october() -> list[tuple[int, int]]:
        with engine.connect() as connection:
            return [
                tuple(row)
                for name, start in (
                    ("monthly_averages", "month"),
                    ("sleep_metrics", "period = 'month' AND period_start"),
                )
                for row in connection.execute(
                    text(f"SELECT missing_nights, not_synced_nights FROM asleep.{name} WHERE {start} = '2026-10-01'")
                )
            ]

    assert october() == [(10, 5)] * 2
    first, last = datetime(2026, 10, 13, tzinfo=UTC), datetime(2026, 10, 21, tzinfo=UTC)
    with engine.begin() as connection:
        SyncState(connection).finish_users([FinishedUser("one", first, last, last)], detail="full")
    compute_metrics(engine, TODAY)
    with engine.begin() as connection:
        summarise(connection)
        SyncState(connection).finish_users([FinishedUser("one", first, last, last)], detail="full")
        assert months_to_recompute(connection) == [], "nothing new is covered"

    assert october() == [(15, 0)] * 2


def test_an_earlier_first_recording_lengthens_the_calendar_of_a_later_month(engine: Engine):
    """Dates count from the first recording, so history that arrives late changes a month in which nothing changed."""
    write(engine, recording("one", datetime(2026, 10, 14, 23), 7))  # noqa: DTZ001
    compute_metrics(engine, TODAY)
    write(engine, recording("one", datetime(2026, 8, 2, 23), 7))  # noqa: DTZ001
    compute_metrics(engine, TODAY)
    with engine.begin() as connection:
        summarise(connection)
        days = connection.scalars(text("SELECT days FROM asleep.monthly_averages ORDER BY month")).all()

    assert days == [29, 31]
    assert rows(engine)["one", "month", date(2026, 10, 1)]["days"] == 31


def test_a_session_stored_after_the_snapshot_keeps_its_period_stale(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """The classic lost wake-up: metrics read, a writer commits, metrics are written and the queue is cleared."""
    import assets.metrics.sleep_metrics as module

    write(engine, recording("one", datetime(2026, 10, 14, 23), 7))  # noqa: DTZ001
    original = module.metrics_of

    def and_then_a_writer(*given: Any, **named: Any) -> Any:
        computed = original(*given, **named)
        write(engine, recording("one", datetime(2026, 10, 15, 23), 7))  # noqa: DTZ001
        return computed

    monkeypatch.setattr(module, "metrics_of", and_then_a_writer)
    assert compute_metrics(engine, TODAY).written == 0
    monkeypatch.undo()
    assert compute_metrics(engine, TODAY).written == 2
    assert rows(engine)["one", "month", date(2026, 10, 1)]["recorded_nights"] == 2


def test_monthly_averages_and_metrics_show_one_number_for_one_thing(engine: Engine, connection: Connection):
    """Two tables that differ in the sleep of a date would leave the reader to choose."""
    write(engine, *autumn())
    compute_metrics(engine, TODAY)
    with engine.begin() as writing:
        summarise(writing)
    shared = {column.name for column in sleep_metrics.c} & {column.name for column in monthly_averages.c}
    of_today = {"is_complete", "as_of", "days", "coverage", "missing_nights", "not_synced_nights"}
    pairs = connection.execute(
        text(
            "SELECT to_jsonb(a) AS a, to_jsonb(m) AS m "
            "FROM asleep.monthly_averages AS a JOIN asleep.sleep_metrics AS m "
            "ON m.user_id = a.user_id AND m.period = 'month' AND m.period_start = a.month"
        )
    ).all()

    assert len(pairs) == 6
    for pair in pairs:
        assert pair.a["nights"] == pair.m["recorded_nights"]
        is_over = pair.a["month"] == "2026-10-01"
        for name in shared - {"computed_at"} - (set() if is_over else of_today):
            ours, theirs = pair.a[name], pair.m[name]
            assert ours == (theirs if isinstance(ours, str) else pytest.approx(theirs, rel=1e-9)), name
