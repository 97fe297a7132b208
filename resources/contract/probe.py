"""At most six requests about one user, and what they show about the contract."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from resources.asleep.client import MAX_DAYS, AsleepClient
from resources.asleep.errors import AsleepError, IdentifierRefused, RequestRefused, UserGone
from resources.asleep.paging import PAGE_ROWS
from resources.asleep.records import COMPLETE, ListedSession
from resources.asleep.transport import ApiResult
from resources.contract.statements import Findings

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
    findings.check_user(api.get_user(user_id).result, user_id)
    limit = PAGE_ROWS
    is_allowed = f"list: `limit` = {PAGE_ROWS} is allowed"
    page = _get(findings, is_allowed, lambda: api.get_page(user_id, *days, offset=0, limit=PAGE_ROWS), RequestRefused)
    if page is None:
        limit = FEWER_ROWS
        page = api.get_page(user_id, *days, offset=0, limit=FEWER_ROWS)
    rows = findings.check_list(page.result, days, limit=limit)
    if (listed := _best(rows)) is not None:
        can_be_read = "session: a listed session can be read"
        result = _get(findings, can_be_read, lambda: api.get_session(user_id, listed.session_id))
        if result is not None:
            findings.check_session(result.result, user_id, listed)
    averages = _get(
        findings, f"average-stats: {MAX_DAYS} dates are allowed", lambda: api.get_average_stats(user_id, *days)
    )
    if averages is not None and (stats := findings.check_average_stats(averages.result, days)) is not None:
        findings.check_page_end(rows, stats, limit=limit)
    if unknown_user:
        _unknown_user(findings, api)
    return findings


def _get(
    findings: Findings, statement: str, request: Callable[[], ApiResult], refusal: type[AsleepError] = AsleepError
) -> ApiResult | None:
    """The result of a request; None when it was refused, which contradicts the statement."""
    try:
        result = request()
    except refusal as error:
        findings.check(statement, False, error.kind)
        return None
    findings.check(statement, True)
    return result


def _best(rows: tuple[ListedSession, ...]) -> ListedSession | None:
    """The latest finished session, else the latest."""
    readable = [row for row in rows if row.problem is None]
    finished = [row for row in readable if row.state == COMPLETE]
    return next(reversed(finished or readable), None)


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
