"""The statements about the Asleep API, held against what syncs have stored in the last week. Makes no request."""

from collections import Counter
from typing import NamedTuple

from sqlalchemy import Connection

from resources.asleep.paging import PAGE_ROWS
from resources.contract.findings import CheckResult, Findings
from resources.contract.statements import (
    FORMULA,
    MEAN_OF_RATIOS,
    PAGE_LIMIT,
    check_clock,
    check_fields,
    check_session,
)
from resources.load_sql import load_sql

DAYS = 8
"""A week, and a day for a weekly run that was late."""
MAX_SESSIONS = 500


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

    Returns:
        One summary for each statement.
    """
    findings = Findings()
    for row in connection.execute(load_sql(__package__, "recent_results"), {"days": DAYS, "rows": max_sessions}):
        check_session(findings, row.result, row.user_id)
    _check_recorded(findings, connection)
    return summarise(findings)


def _check_recorded(findings: Findings, connection: Connection) -> None:
    """What syncs have noted beside the raw results."""
    seen = connection.execute(load_sql(__package__, "recent_notes"), {"days": DAYS}).one()
    findings.check(PAGE_LIMIT, seen.page_rows >= PAGE_ROWS if seen.page_rows else None, f"it has {seen.page_rows}")
    check_clock(findings, seen.clock_ahead)
    formula = seen.averaging_formula
    findings.check(FORMULA, formula == "ratio_of_sums" if formula else None, MEAN_OF_RATIOS)
    check_fields(findings, "list row", seen.list_violations) if seen.sessions else None
    check_fields(findings, "average-stats", seen.average_violations) if seen.reconciled else None


def summarise(findings: Findings) -> list[Summary]:
    """Count the findings of each statement; one contradiction contradicts it."""
    summaries = []
    for statement in dict.fromkeys(finding.statement for finding in findings.found):
        found = [finding for finding in findings.found if finding.statement == statement]
        counts = Counter(finding.result for finding in found)
        details = Counter(finding.detail for finding in found if finding.detail)
        confirmed, contradicted = counts[CheckResult.CONFIRMED], counts[CheckResult.CONTRADICTED]
        result = CheckResult.CONFIRMED if confirmed else CheckResult.NOT_VISIBLE
        summaries.append(
            Summary(
                statement,
                CheckResult.CONTRADICTED if contradicted else result,
                confirmed,
                contradicted,
                max(details, key=details.__getitem__, default=""),
            )
        )
    return summaries
