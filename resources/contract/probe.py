"""At most six requests about one user, and what they show about the contract."""

from datetime import UTC, date, datetime, timedelta

from resources.asleep.client import MAX_DAYS, AsleepClient
from resources.asleep.errors import AsleepError, IdentifierRefused, RequestRefused, UserGone
from resources.asleep.paging import PAGE_ROWS
from resources.asleep.records import COMPLETE, AverageStats, ListedSession
from resources.contract.findings import Findings
from resources.contract.statements import (
    check_average_stats,
    check_list,
    check_listed,
    check_page_end,
    check_session,
    check_user,
)

MADE_UP_USER = "G-20000101000000-AAAAAAAAAAAAAAAAAAAA"
FEWER_ROWS = 20
"""The largest `limit` of the oldest edition of the documentation."""


def probe(api: AsleepClient, user_id: str, *, unknown_user: bool = False) -> Findings:
    """Request a user, the list, one session and average-stats, and check each response.

    Args:
        api: the client.
        user_id: a registered user, best one with sessions of the last 99 days.
        unknown_user: also request a user that does not exist.

    Raises:
        AsleepError: the API does not return the user or the list: nothing can be checked.
    """
    findings = Findings()
    today = datetime.now(UTC).date()
    days = (today - timedelta(days=MAX_DAYS - 1), today)
    check_user(findings, api.get_user(user_id).result, user_id)
    rows, limit = _list(findings, api, user_id, days)
    if (listed := _best(rows)) is not None:
        _session(findings, api, user_id, listed)
    if (stats := _average_stats(findings, api, user_id, days)) is not None:
        check_page_end(findings, rows, stats, limit=limit)
    if unknown_user:
        _unknown_user(findings, api)
    return findings


def _list(
    findings: Findings, api: AsleepClient, user_id: str, days: tuple[date, date]
) -> tuple[tuple[ListedSession, ...], int]:
    """The first page, and the limit with which it was returned."""
    statement = f"list: `limit` = {PAGE_ROWS} is allowed"
    try:
        page, limit = api.get_page(user_id, *days, offset=0, limit=PAGE_ROWS), PAGE_ROWS
    except RequestRefused as error:
        page, limit = api.get_page(user_id, *days, offset=0, limit=FEWER_ROWS), FEWER_ROWS
        findings.check(statement, False, error.kind)
    else:
        findings.check(statement, True)
    return check_list(findings, page.result, days, limit=limit), limit


def _best(rows: tuple[ListedSession, ...]) -> ListedSession | None:
    """The latest finished session, else the latest."""
    readable = [row for row in rows if row.problem is None]
    finished = [row for row in readable if row.state == COMPLETE]
    return next(reversed(finished or readable), None)


def _session(findings: Findings, api: AsleepClient, user_id: str, listed: ListedSession) -> None:
    try:
        result = api.get_session(user_id, listed.session_id).result
    except AsleepError as error:
        findings.check("session: a listed session can be read", False, error.kind)
    else:
        if (session := check_session(findings, result, user_id)) is not None:
            check_listed(findings, session, listed)


def _average_stats(findings: Findings, api: AsleepClient, user_id: str, days: tuple[date, date]) -> AverageStats | None:
    statement = f"average-stats: {MAX_DAYS} dates are allowed"
    try:
        result = api.get_average_stats(user_id, *days).result
    except AsleepError as error:
        findings.check(statement, False, error.kind)
        return None
    findings.check(statement, True)
    return check_average_stats(findings, result, days)


def _unknown_user(findings: Findings, api: AsleepClient) -> None:
    statement = "user: an unknown user is reported as not found"
    try:
        api.get_user(MADE_UP_USER)
    except UserGone:
        findings.check(statement, True)
    except IdentifierRefused:
        findings.check(statement, None)
    except AsleepError as error:
        findings.check(statement, False, error.kind)
    else:
        findings.check(statement, False, "the API returned a user")
