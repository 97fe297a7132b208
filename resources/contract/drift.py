"""The statements about the Asleep API, held against what syncs have stored in the last week. Makes no request."""

from collections import Counter
from typing import NamedTuple

from sqlalchemy import Connection

from resources.asleep.paging import PAGE_ROWS
from resources.contract.statements import FORMULA, MEAN_OF_RATIOS, PAGE_LIMIT, CheckResult, Findings
from resources.load_sql import load_sql

DAYS = 8
"""A week, and a day for a weekly run that was late."""
MAX_SESSIONS = 500
_ORDER = (CheckResult.NOT_VISIBLE, CheckResult.CONFIRMED, CheckResult.CONTRADICTED)


class Summary(NamedTuple):
    """What all stored responses show about one statement."""

    statement: str
    result: CheckResult
    confirmed: int
    """Responses that confirm it."""
    contradicted: int
    detail: str
    """Of the most frequent contradiction. Names of fields and types only."""


def check_stored(connection: Connection, *, max_sessions: int = MAX_SESSIONS) -> list[Summary]:
    """Check raw results of sessions, recorded violations, page size, clock and the formula of averages.

    Args:
        connection: to read with.
        max_sessions: newest raw results to check.
    """
    findings = Findings()
    for row in connection.execute(load_sql(__package__, "recent_results"), {"days": DAYS, "rows": max_sessions}):
        findings.check_session(row.result, row.user_id)
    seen = connection.execute(load_sql(__package__, "recent_notes"), {"days": DAYS}).one()
    findings.check(PAGE_LIMIT, seen.page_rows >= PAGE_ROWS if seen.page_rows else None, f"it has {seen.page_rows}")
    findings.check_clock(seen.clock_ahead)
    formula = seen.averaging_formula
    findings.check(FORMULA, formula == "ratio_of_sums" if formula else None, MEAN_OF_RATIOS)
    if seen.sessions:
        findings.check_fields("list row", seen.list_violations)
    if seen.reconciled:
        findings.check_fields("average-stats", seen.average_violations)
    return [_summary(statement, findings) for statement in dict.fromkeys(each.statement for each in findings.found)]


def _summary(statement: str, findings: Findings) -> Summary:
    """Count the findings of a statement; one contradiction contradicts it."""
    found = [finding for finding in findings.found if finding.statement == statement]
    counts = Counter(finding.result for finding in found)
    details = Counter(finding.detail for finding in found if finding.detail)
    result = max(counts, key=_ORDER.index)
    confirmed, contradicted = counts[CheckResult.CONFIRMED], counts[CheckResult.CONTRADICTED]
    return Summary(statement, result, confirmed, contradicted, max(details, key=details.__getitem__, default=""))
