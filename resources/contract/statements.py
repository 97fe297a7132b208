"""Statements about the Asleep API and the installation that the code relies on, held against raw results.

What is found contains no id, value or key: only names of fields and types.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeVar

from resources.asleep.errors import Malformed
from resources.asleep.parse_values import UNKNOWN_ZONE
from resources.asleep.parsing import (
    FIELD_NAME,
    parse_average_stats,
    parse_session_list,
    parse_session_result,
    parse_user,
)
from resources.asleep.records import (
    COMPLETE,
    STAT_FIELDS,
    AverageStats,
    ListedSession,
    NeverSleptSession,
    SleepSession,
    SleptSession,
    Stat,
)

EPOCH_SECONDS = 30
ROUNDING = 0.0015
"""Averages carry three decimals."""
_OFFSET = re.compile(r"[+-]\d\d:\d\d$|Z$")

MAX_CLOCK_DIFFERENCE = timedelta(minutes=15)
"""Between the API's clock and the database's."""
PAGE_LIMIT = "list: a page of fewer than `limit` rows is the last one"
FORMULA = "average-stats: ratios are ratios of sums"
MEAN_OF_RATIOS = "they are means of the nightly ratios"
SUMS = (
    ("time_in_sleep", "time_in_light", "time_in_deep", "time_in_rem"),
    ("time_in_sleep_period", "time_in_sleep", "time_in_wake"),
)
"""Statistics, each with those that add up to it."""

Result = Mapping[str, Any]
Record = TypeVar("Record")


class CheckResult(StrEnum):
    """What responses show about a statement."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    NOT_VISIBLE = "not visible"
    """These responses neither confirm nor contradict it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement, checked."""

    statement: str
    result: CheckResult
    detail: str = ""
    """What was found instead."""


@dataclass(slots=True)
class Findings:
    """Checks responses, and collects what is found."""

    found: list[Finding] = field(default_factory=list)

    def check(self, statement: str, holds: bool | None, detail: str = "") -> None:
        """Add a finding.

        Args:
            statement: what the code assumes.
            holds: None when the responses do not show it.
            detail: what was found instead; kept for a contradiction only.
        """
        if holds is None:
            self.found.append(Finding(statement, CheckResult.NOT_VISIBLE))
        else:
            result = CheckResult.CONFIRMED if holds else CheckResult.CONTRADICTED
            self.found.append(Finding(statement, result, "" if holds else detail))

    @property
    def contradicted(self) -> list[Finding]:
        """Those that the responses contradict."""
        return [finding for finding in self.found if finding.result is CheckResult.CONTRADICTED]

    def check_fields(self, where: str, violations: Iterable[str]) -> None:
        """Check a response's fields and types.

        Args:
            where: the kind of response.
            violations: that the parser recorded; zones that phones make up are not the API's.
        """
        detail = "; ".join(sorted({each for each in violations if not each.endswith(UNKNOWN_ZONE)}))
        self.check(f"{where}: fields and types are those of the contract", not detail, detail)

    def check_clock(self, ahead: timedelta | None) -> None:
        """Check by how much the API's clock is ahead of the database's; None when no response shows it."""
        minutes = MAX_CLOCK_DIFFERENCE // timedelta(minutes=1)
        self.check(
            f"clock: the API's clock is within {minutes} minutes of the database's",
            abs(ahead) <= MAX_CLOCK_DIFFERENCE if ahead is not None else None,
            "it is ahead" if ahead and ahead > timedelta() else "it is behind",
        )

    def check_list(self, result: Result, days: tuple[date, date], *, limit: int) -> tuple[ListedSession, ...]:
        """Check a page of sessions; returns its rows.

        Args:
            result: of the list call with `order_by=ASC`.
            days: first and last UTC day that were requested.
            limit: that was requested.
        """
        rows = self._parsed("list: `sleep_session_list` is an array", parse_session_list, dict(result))
        if rows is None:
            return ()
        if rows:
            violations = {violation for row in rows for violation in row.contract_violations}
            self.check_fields("list row", violations | {str(row.problem) for row in rows if row.problem is not None})
        starts = _starts(rows)
        self.check("list: rows are ordered by start time", _all(a <= b for a, b in pairwise(starts)))
        self.check("list: dates are those of the session's start in UTC", _all(_is_in(days, start) for start in starts))
        self.check(f"list: a page has at most `limit` = {limit} rows", len(rows) <= limit if rows else None)
        self.check("list: a page may have more than 20 rows", True if len(rows) > 20 else None)  # noqa: PLR2004
        finished = (row.session_end_time for row in rows if row.state == COMPLETE)
        self.check("list: a finished session has an end", _all(finished))
        raw = [each for each in result.get("sleep_session_list", ()) if isinstance(each, dict)]
        running = (each.get("time_in_bed") is None for each in raw if each.get("state") == "OPEN")
        self.check("list: `time_in_bed` of a running session is null", _all(running))
        return rows

    def check_session(self, result: Result, user_id: str, listed: ListedSession | None = None) -> None:
        """Check a session in full.

        Args:
            result: of the session call.
            user_id: whose session was requested.
            listed: its row in the list.
        """
        raw = result.get("session")
        start = raw.get("start_time") if isinstance(raw, dict) else None
        self.check("session: timestamps carry an offset", bool(_OFFSET.search(str(start))))
        given = {"user_id": user_id, "asked_at": datetime.now(UTC)}
        session = self._parsed("session: can be read", parse_session_result, dict(result), **given)
        if session is None:
            return
        self.check_fields("session", session.contract_violations)
        raw_stat = result.get("stat")
        missing = sorted(set(STAT_FIELDS) - set(raw_stat)) if isinstance(raw_stat, dict) else []
        has_all = not missing if raw_stat is not None else None
        self.check("session: `stat` has 38 fields", has_all, f"missing: {', '.join(missing)}")
        never = "NEVER_SLEPT" in (session.peculiarities or ())
        self.check("session: NEVER_SLEPT carries a `stat` object", isinstance(raw_stat, dict) if never else None)
        self._check_stat(session.stat, session, raw_stat if isinstance(raw_stat, dict) else {})
        if listed is not None:
            self.check("session: `id` is the one requested", session.session_id == listed.session_id)
            same = (session.session_start_time, session.state) == (listed.session_start_time, listed.state)
            self.check("session: start and state are those of the list row", same)

    def _check_stat(self, stat: Stat | None, session: SleepSession, raw: Result) -> None:
        slept = stat if stat is not None and stat.time_in_sleep else None
        efficiency = raw.get("sleep_efficiency")
        is_share = isinstance(efficiency, int | float) and 0 <= efficiency <= 1
        self.check("stat: `sleep_efficiency` is a share of 1, not a percentage", is_share if slept else None)
        stages = session.sleep_stages
        whole = slept if stages and -1 not in stages else None
        for total, *parts in SUMS:
            self.check(f"stat: `{total}` is {' + '.join(f'`{part}`' for part in parts)}", _is_sum(whole, total, parts))
        latency, onset = (slept.sleep_latency, slept.sleep_time) if slept else (None, None)
        follows = None
        if latency is not None and onset is not None:
            follows = onset == session.session_start_time + timedelta(seconds=latency)
        self.check("stat: `sleep_time` is the start plus `sleep_latency`", follows)
        self._check_stage_latencies(slept, stages or ())
        cycle = raw.get("sleep_cycle")
        self.check("stat: `sleep_cycle` is a number of seconds", isinstance(cycle, int | float) if cycle else None)

    def _check_stage_latencies(self, stat: Stat | None, stages: Sequence[int]) -> None:
        known: list[tuple[int, int]] = []
        onset = 0
        if stat is not None and stat.sleep_latency:
            onset = stat.sleep_latency
            pairs = [(1, stat.light_latency), (2, stat.deep_latency), (3, stat.rem_latency)]
            present = [(stage, latency) for stage, latency in pairs if latency is not None and stage in stages]
            known = [(stages.index(stage) * EPOCH_SECONDS, latency) for stage, latency in present]
        is_from_start = all(latency == first for first, latency in known)
        found = "they count from the session's start" if is_from_start else "they count from another moment"
        from_onset = _all(latency == first - onset for first, latency in known)
        self.check("stat: stage latencies count from sleep onset", from_onset, found)

    def check_average_stats(self, result: Result, days: tuple[date, date]) -> AverageStats | None:
        """Check average-stats; returns them.

        Args:
            result: of the average-stats call.
            days: first and last UTC day that were requested.
        """
        now = datetime.now(UTC)
        stats = self._parsed("average-stats: can be read", parse_average_stats, dict(result), asked_at=now)
        if stats is None:
            return None
        sessions = _analysed(stats)
        violations = {violation for session in sessions for violation in session.contract_violations}
        self.check_fields("average-stats", violations | {str(problem) for problem in stats.problems})
        period = result.get("period")
        extra = sorted(set(period) - {"timezone", "start_date", "end_date"}) if isinstance(period, dict) else []
        has_no_other = "average-stats: `period` has timezone, start_date, end_date"
        shown = (name if FIELD_NAME.fullmatch(name) else "(a name with other characters)" for name in extra)
        self.check(has_no_other, not extra, f"also: {', '.join(shown)}")
        present = all(isinstance(result.get(name), list) for name in ("slept_sessions", "never_slept_sessions"))
        self.check("average-stats: both lists are present, also when empty", present)
        self.check(
            "average-stats: sessions have `id` and `start_time`",
            _all("id" in item for item in result.get("slept_sessions") or () if isinstance(item, dict)),
            "they have `session_id` and `session_start_time`",
        )
        completed = (session.completed_time is not None for session in sessions)
        self.check("average-stats: every session has `completed_time`", _all(completed))
        inside = (_is_in(days, session.session_start_time) for session in sessions)
        self.check("average-stats: dates are those of the session's start", _all(inside))
        self._check_formula(result, stats)
        return stats

    def _check_formula(self, result: Result, stats: AverageStats) -> None:
        theirs = (result.get("average_stats") or {}).get("sleep_efficiency")
        pairs = [(session.stat.time_in_sleep, session.stat.time_in_bed) for session in stats.slept]
        of_sums, mean = ratio_of_sums(pairs), mean_of_ratios(pairs)
        if (
            of_sums is None
            or mean is None
            or not isinstance(theirs, int | float)
            or abs(of_sums - mean) <= 2 * ROUNDING
        ):
            self.check(FORMULA, None)
            return
        detail = MEAN_OF_RATIOS if abs(theirs - mean) <= ROUNDING else "they follow another formula"
        self.check(FORMULA, abs(theirs - of_sums) <= ROUNDING, detail)

    def check_page_end(self, rows: Sequence[ListedSession], stats: AverageStats, *, limit: int) -> None:
        """Check whether a page that is not full is the last one, by the sessions of average-stats of the same days.

        Args:
            rows: of the first page.
            stats: of the same days.
            limit: that was requested.
        """
        starts = _starts(rows)
        averaged = [session.session_start_time for session in _analysed(stats)]
        holds = max(averaged) <= max(starts) if starts and averaged and len(rows) < limit else None
        self.check(PAGE_LIMIT, holds, f"average-stats has later sessions than this page of {len(rows)} rows")

    def check_user(self, result: Result, user_id: str) -> None:
        """Check a user's profile.

        Args:
            result: of the user call.
            user_id: that was requested.
        """
        user = self._parsed("user: can be read", parse_user, dict(result), user_id=user_id)
        if user is None:
            return
        self.check_fields("user", user.contract_violations)
        self.check("user: `to_be_deleted` is a boolean", isinstance(result.get("to_be_deleted"), bool))
        last = result.get("last_session_info")
        names = set(last) if isinstance(last, dict) else set()
        detail = "it has `session_start_time`" if "session_start_time" in names else ""
        self.check("user: `last_session_info` has `start_time`", "start_time" in names if names else None, detail)

    def _parsed(self, statement: str, parse: Callable[..., Record], result: Any, **given: Any) -> Record | None:
        try:
            return parse(result, **given)
        except Malformed as error:
            self.check(statement, False, str(error))
            return None


def ratio_of_sums(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The ratio of two sums; None unless every pair has two numbers that are not 0."""
    return sum(over for over, _ in pairs) / sum(under for _, under in pairs) if _are_complete(pairs) else None


def mean_of_ratios(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The mean of the pairs' ratios; None unless every pair has two numbers that are not 0."""
    return sum(over / under for over, under in pairs) / len(pairs) if _are_complete(pairs) else None


def _are_complete(pairs: Sequence[tuple[Any, Any]]) -> bool:
    return bool(pairs) and all(over and under for over, under in pairs)


def _all(values: Iterable[object]) -> bool | None:
    """Whether all are true; None when there is none."""
    found = list(values)
    return all(found) if found else None


def _starts(rows: Sequence[ListedSession]) -> list[datetime]:
    return [row.session_start_time for row in rows if row.session_start_time is not None]


def _analysed(stats: AverageStats) -> list[SleptSession | NeverSleptSession]:
    return [*stats.slept, *stats.never_slept]


def _is_in(days: tuple[date, date], moment: datetime) -> bool:
    return days[0] <= moment.astimezone(UTC).date() <= days[1]


def _is_sum(stat: Stat | None, total: str, parts: Sequence[str]) -> bool | None:
    if stat is None:
        return None
    whole, *values = (getattr(stat, name) for name in (total, *parts))
    return None if whole is None or None in values else whole == sum(values)
