"""The statements about the Asleep API, held against what syncs have stored in the last week. Makes no request."""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from resources.asleep.paging import PAGE_ROWS
from resources.contract.statements import FORMULA, MEAN_OF_RATIOS, PAGE_LIMIT, CheckResult, Findings
from resources.database.schema.bookkeeping import api_accounts, sync_batches
from resources.database.schema.tables import sleep_sessions
from resources.load_sql import load_sql

DAYS = 8
"""A week, and a day for a weekly run that was late."""
MAX_SESSIONS = 500
_OF_LISTS, _OF_AVERAGES = "list.", "average-stats: "
"""How violations of the contract begin in sessions and in the counts of batches."""
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
    _check_noted(findings, connection, func.now() - timedelta(days=DAYS))
    return [_summary(statement, findings) for statement in dict.fromkeys(each.statement for each in findings.found)]


def _check_noted(findings: Findings, connection: Connection, since: ColumnElement[datetime]) -> None:
    """Check what syncs have noted of the account, of their lists and of average-stats."""
    account, session, batch = api_accounts.c, sleep_sessions.c, sync_batches.c
    columns = (account.page_rows, account.clock_ahead, account.averaging_formula)
    last = select(*columns).where(account.noted_at >= since).order_by(account.noted_at.desc()).limit(1)
    page_rows, clock_ahead, formula = connection.execute(last).one_or_none() or (None, None, None)
    findings.check(PAGE_LIMIT, page_rows >= PAGE_ROWS if page_rows else None, f"it has {page_rows}")
    findings.check_clock(clock_ahead)
    findings.check(FORMULA, formula == "ratio_of_sums" if formula else None, MEAN_OF_RATIOS)
    if connection.scalar(select(session.session_id).where(session.updated_at >= since).limit(1)) is not None:
        violations = select(func.unnest(session.contract_violations)).where(session.updated_at >= since).distinct()
        found = [each.removeprefix(_OF_LISTS) for each in connection.scalars(violations) if each.startswith(_OF_LISTS)]
        findings.check_fields("list row", found)
    counts = connection.scalars(select(batch.counts).where(batch.started_at >= since))
    names = {name for each in counts for name, value in each.items() if value}
    violated = [name.removeprefix(_OF_AVERAGES) for name in names if name.startswith(_OF_AVERAGES)]
    if violated or "requests_average_stats" in names:
        findings.check_fields("average-stats", violated)


def _summary(statement: str, findings: Findings) -> Summary:
    """Count the findings of a statement; one contradiction contradicts it."""
    found = [finding for finding in findings.found if finding.statement == statement]
    counts = Counter(finding.result for finding in found)
    details = Counter(finding.detail for finding in found if finding.detail)
    result = max(counts, key=_ORDER.index)
    confirmed, contradicted = counts[CheckResult.CONFIRMED], counts[CheckResult.CONTRADICTED]
    return Summary(statement, result, confirmed, contradicted, max(details, key=details.__getitem__, default=""))
