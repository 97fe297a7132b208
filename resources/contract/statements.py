"""Statements about the Asleep API that the code relies on, checked against raw results. Pure functions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from resources.asleep.errors import Malformed
from resources.asleep.parsing.parse_sessions import parse_session_list, parse_session_result
from resources.asleep.parsing.parse_users import parse_average_stats, parse_user
from resources.asleep.parsing.parse_values import UNKNOWN_ZONE
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
from resources.contract.findings import Findings

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


def check_fields(findings: Findings, where: str, violations: Iterable[str]) -> None:
    """Check a response's fields and types.

    Args:
        findings: takes what is found.
        where: the kind of response.
        violations: that the parser recorded; zones that phones make up are not the API's.
    """
    detail = "; ".join(sorted({each for each in violations if not each.endswith(UNKNOWN_ZONE)}))
    findings.check(f"{where}: fields and types are those of the contract", not detail, detail)


def check_clock(findings: Findings, ahead: timedelta | None) -> None:
    """Check the API's clock.

    Args:
        findings: takes what is found.
        ahead: by how much it is ahead of the database's clock; None when no response shows it.
    """
    minutes = MAX_CLOCK_DIFFERENCE // timedelta(minutes=1)
    findings.check(
        f"clock: the API's clock is within {minutes} minutes of the database's",
        abs(ahead) <= MAX_CLOCK_DIFFERENCE if ahead is not None else None,
        "it is ahead" if ahead and ahead > timedelta() else "it is behind",
    )


def check_list(findings: Findings, result: Result, days: tuple[date, date], *, limit: int) -> tuple[ListedSession, ...]:
    """Check a page of sessions; returns its rows.

    Args:
        findings: takes what is found.
        result: of the list call with `order_by=ASC`.
        days: first and last UTC day that were requested.
        limit: that was requested.
    """
    try:
        rows = parse_session_list(dict(result))
    except Malformed as error:
        findings.check("list: `sleep_session_list` is an array", False, str(error))
        return ()
    if rows:
        violations = {violation for row in rows for violation in row.contract_violations}
        check_fields(findings, "list row", violations | {str(row.problem) for row in rows if row.problem is not None})
    starts = [row.session_start_time for row in rows if row.session_start_time is not None]
    findings.check("list: rows are ordered by start time", _ordered(starts))
    inside = [days[0] <= start.astimezone(UTC).date() <= days[1] for start in starts]
    findings.check("list: dates are those of the session's start in UTC", all(inside) if inside else None)
    findings.check(f"list: a page has at most `limit` = {limit} rows", len(rows) <= limit if rows else None)
    findings.check("list: a page may have more than 20 rows", True if len(rows) > 20 else None)  # noqa: PLR2004
    finished = [row for row in rows if row.state == COMPLETE]
    findings.check(
        "list: a finished session has an end", all(r.session_end_time for r in finished) if finished else None
    )
    running = [
        raw for raw in result.get("sleep_session_list", ()) if isinstance(raw, dict) and raw.get("state") == "OPEN"
    ]
    findings.check(
        "list: `time_in_bed` of a running session is null",
        all(raw.get("time_in_bed") is None for raw in running) if running else None,
    )
    return rows


def _ordered(starts: Sequence[datetime]) -> bool | None:
    return all(a <= b for a, b in pairwise(starts)) if len(starts) > 1 else None


def check_session(findings: Findings, result: Result, user_id: str) -> SleepSession | None:
    """Check a session in full; returns it.

    Args:
        findings: takes what is found.
        result: of the session call.
        user_id: whose session was requested.
    """
    raw = result.get("session")
    start = raw.get("start_time") if isinstance(raw, dict) else None
    findings.check("session: timestamps carry an offset", bool(_OFFSET.search(str(start))))
    try:
        session = parse_session_result(dict(result), user_id=user_id, asked_at=datetime.now(UTC))
    except Malformed as error:
        findings.check("session: can be read", False, str(error))
        return None
    check_fields(findings, "session", session.contract_violations)
    raw_stat = result.get("stat")
    missing = sorted(set(STAT_FIELDS) - set(raw_stat)) if isinstance(raw_stat, dict) else []
    findings.check(
        "session: `stat` has 38 fields", not missing if raw_stat is not None else None, f"missing: {', '.join(missing)}"
    )
    never = "NEVER_SLEPT" in (session.peculiarities or ())
    findings.check("session: NEVER_SLEPT carries a `stat` object", isinstance(raw_stat, dict) if never else None)
    _check_stat(findings, session.stat, session, raw_stat if isinstance(raw_stat, dict) else {})
    return session


def check_listed(findings: Findings, session: SleepSession, listed: ListedSession) -> None:
    """Check that a session in full is the one of a list row.

    Args:
        findings: takes what is found.
        session: as read.
        listed: its row.
    """
    findings.check("session: `id` is the one requested", session.session_id == listed.session_id)
    same = (session.session_start_time, session.state) == (listed.session_start_time, listed.state)
    findings.check("session: start and state are those of the list row", same)


def _check_stat(findings: Findings, stat: Stat | None, session: SleepSession, raw: Result) -> None:
    slept = stat if stat is not None and stat.time_in_sleep else None
    efficiency = raw.get("sleep_efficiency")
    is_share = isinstance(efficiency, int | float) and 0 <= efficiency <= 1
    findings.check("stat: `sleep_efficiency` is a share of 1, not a percentage", is_share if slept else None)
    stages = session.sleep_stages
    whole = slept if stages and -1 not in stages else None
    for total, *parts in SUMS:
        findings.check(f"stat: `{total}` is {' + '.join(f'`{part}`' for part in parts)}", _is_sum(whole, total, parts))
    onset = slept.sleep_latency if slept else None
    findings.check(
        "stat: `sleep_time` is the start plus `sleep_latency`",
        slept.sleep_time == session.session_start_time + timedelta(seconds=onset)
        if slept and slept.sleep_time and onset is not None
        else None,
    )
    _check_stage_latencies(findings, slept, stages or ())
    cycle = raw.get("sleep_cycle")
    findings.check("stat: `sleep_cycle` is a number of seconds", isinstance(cycle, int | float) if cycle else None)


def _check_stage_latencies(findings: Findings, stat: Stat | None, stages: Sequence[int]) -> None:
    statement = "stat: stage latencies count from sleep onset"
    if stat is None or not stat.sleep_latency:
        findings.check(statement, None)
        return
    pairs = [(1, stat.light_latency), (2, stat.deep_latency), (3, stat.rem_latency)]
    present = [(stage, latency) for stage, latency in pairs if latency is not None and stage in stages]
    known = [(stages.index(stage) * EPOCH_SECONDS, latency) for stage, latency in present]
    if not known:
        findings.check(statement, None)
        return
    from_onset = all(latency == first - stat.sleep_latency for first, latency in known)
    from_start = all(latency == first for first, latency in known)
    found = "they count from the session's start" if from_start else "they count from another moment"
    findings.check(statement, from_onset, found)


def _is_sum(stat: Stat | None, total: str, parts: Sequence[str]) -> bool | None:
    if stat is None:
        return None
    whole, *values = (getattr(stat, name) for name in (total, *parts))
    return None if whole is None or None in values else whole == sum(values)


def check_average_stats(findings: Findings, result: Result, days: tuple[date, date]) -> AverageStats | None:
    """Check average-stats; returns them.

    Args:
        findings: takes what is found.
        result: of the average-stats call.
        days: first and last UTC day that were requested.
    """
    try:
        stats = parse_average_stats(dict(result), asked_at=datetime.now(UTC))
    except Malformed as error:
        findings.check("average-stats: can be read", False, str(error))
        return None
    sessions: list[SleptSession | NeverSleptSession] = [*stats.slept, *stats.never_slept]
    violations = {violation for session in sessions for violation in session.contract_violations}
    check_fields(findings, "average-stats", violations | {str(problem) for problem in stats.problems})
    period = result.get("period")
    extra = sorted(set(period) - {"timezone", "start_date", "end_date"}) if isinstance(period, dict) else []
    findings.check("average-stats: `period` has timezone, start_date, end_date", not extra, f"also: {', '.join(extra)}")
    present = all(isinstance(result.get(name), list) for name in ("slept_sessions", "never_slept_sessions"))
    findings.check("average-stats: both lists are present, also when empty", present)
    raw = [item for item in result.get("slept_sessions") or () if isinstance(item, dict)]
    findings.check(
        "average-stats: sessions have `id` and `start_time`",
        all("id" in item for item in raw) if raw else None,
        "they have `session_id` and `session_start_time`",
    )
    completed = [session.completed_time is not None for session in sessions]
    findings.check("average-stats: every session has `completed_time`", all(completed) if completed else None)
    inside = [days[0] <= session.session_start_time.astimezone(UTC).date() <= days[1] for session in sessions]
    findings.check("average-stats: dates are those of the session's start", all(inside) if inside else None)
    _check_formula(findings, result, stats)
    return stats


def ratio_of_sums(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The ratio of two sums; None unless every pair has two numbers that are not 0."""
    return sum(over for over, _ in pairs) / sum(under for _, under in pairs) if _are_complete(pairs) else None


def mean_of_ratios(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The mean of the pairs' ratios; None unless every pair has two numbers that are not 0."""
    return sum(over / under for over, under in pairs) / len(pairs) if _are_complete(pairs) else None


def _are_complete(pairs: Sequence[tuple[Any, Any]]) -> bool:
    return bool(pairs) and all(over and under for over, under in pairs)


def _check_formula(findings: Findings, result: Result, stats: AverageStats) -> None:
    theirs = (result.get("average_stats") or {}).get("sleep_efficiency")
    pairs = [(session.stat.time_in_sleep, session.stat.time_in_bed) for session in stats.slept]
    of_sums, mean = ratio_of_sums(pairs), mean_of_ratios(pairs)
    if of_sums is None or mean is None or not isinstance(theirs, int | float) or abs(of_sums - mean) <= 2 * ROUNDING:
        findings.check(FORMULA, None)
        return
    detail = MEAN_OF_RATIOS if abs(theirs - mean) <= ROUNDING else "they follow another formula"
    findings.check(FORMULA, abs(theirs - of_sums) <= ROUNDING, detail)


def check_page_end(findings: Findings, rows: Sequence[ListedSession], stats: AverageStats, *, limit: int) -> None:
    """Check whether a page that is not full is the last one, by the sessions of average-stats of the same days.

    Args:
        findings: takes what is found.
        rows: of the first page.
        stats: of the same days.
        limit: that was requested.
    """
    starts = [row.session_start_time for row in rows if row.session_start_time is not None]
    averaged = [each.session_start_time for each in stats.slept] + [
        each.session_start_time for each in stats.never_slept
    ]
    holds = max(averaged) <= max(starts) if starts and averaged and len(rows) < limit else None
    detail = f"average-stats has later sessions than this page of {len(rows)} rows"
    findings.check(PAGE_LIMIT, holds, detail)


def check_user(findings: Findings, result: Result, user_id: str) -> None:
    """Check a user's profile.

    Args:
        findings: takes what is found.
        result: of the user call.
        user_id: that was requested.
    """
    try:
        user = parse_user(dict(result), user_id=user_id)
    except Malformed as error:
        findings.check("user: can be read", False, str(error))
        return
    check_fields(findings, "user", user.contract_violations)
    findings.check("user: `to_be_deleted` is a boolean", isinstance(result.get("to_be_deleted"), bool))
    last = result.get("last_session_info")
    names = set(last) if isinstance(last, dict) else set()
    findings.check(
        "user: `last_session_info` has `start_time`",
        "start_time" in names if names else None,
        "it has `session_start_time`" if "session_start_time" in names else "",
    )
