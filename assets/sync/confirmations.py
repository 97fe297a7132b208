"""What one more request settles after users were synced: was a list cut, whose is a session?

The pager takes a page for the last one when it is shorter than the largest page that the API is known to return. If
the server's pages are shorter than that, lists end too early, each with a page of the server's size. The last batch of
a run therefore requests one more page: of the user with the longest list, from the second row on and from four months
earlier, so that it holds as many rows as the server returns. A page that does not reach the last row shows the size
exactly; one that is longer than every last page shows that none was cut.

This is exact when the size stays as it is or falls during the run, and some user has more sessions within four months
than the longest last page has rows. Not noticed in the same run: a size that was smaller for a part of the run only;
and, where no user has more sessions, a list that was cut to as many rows as a whole one has. The next run that lists
those days finds what they lack.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from assets.sync.api_requests import error_as_value
from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import Gone, RequestRefused, Unavailable
from resources.asleep.records import ListedSession
from resources.database.sync.sync_state import Failure
from resources.database.sync.unconfirmed_lists import ListEnd, ListEnds

MAX_CONFIRMING_LISTS = 5
"""More than one is needed only where no user has more sessions than the longest page and one has had none for days."""
QUIET = timedelta(days=3)  # a list that ends so long before its window may be whole by chance, and others cut
EARLIER = timedelta(days=120)
"""The confirming page begins so long before the list's window: enough nights for a page of 100 rows."""


class Confirmed(NamedTuple):
    """What confirming some lists has shown of all."""

    cut_from: int | None  # rows that last pages of cut lists have at least; None when no list was cut
    failures: list[Failure]  # lists that could not be had again, and that no other one shows to be whole


def confirm_ends(api: AsleepClient, ends: ListEnds) -> Confirmed:
    """Request one more page of a list; of another one where the first shows nothing, or cannot be read.

    Args:
        api: the client of the Asleep API.
        ends: the lists to confirm, in order of preference, and the longest last page in rows.
    """
    failures: list[Failure] = []
    for end in ends.first:
        try:
            rows = _from_the_second_row(api, end)
        except Exception as error:  # noqa: BLE001 it concerns this list alone
            problem = error_as_value(error)
            message = f"The end of the list could not be confirmed: {problem}"
            failures.append(Failure(end.user_id, None, *end.span, problem.kind, message, problem.raw))
            continue
        ids = [row.session_id for row in rows]
        if end.last_session_id not in ids and (end.rows > 1 or _stops_before(end, rows)):
            return Confirmed(len(ids), [])
        if ids and ids[-1] != end.last_session_id:
            return Confirmed(end.last_page_rows, [])
        if len(ids) > ends.longest_page:
            return Confirmed(None, [])
        is_quiet = end.last_start is None or end.last_start < end.window_end - QUIET
        if not is_quiet:
            break
    return Confirmed(None, failures)


def _from_the_second_row(api: AsleepClient, end: ListEnd) -> list[ListedSession]:
    first, last = Window(*end.span).days_to_list
    page = api.list_page(end.user_id, first - EARLIER, last, offset=1)
    if not page and end.rows > 1:
        raise Unavailable("the list is empty now")
    return list({row.session_id: row for row in page}.values())


def _stops_before(end: ListEnd, rows: list[ListedSession]) -> bool:
    """True when the page ends before the list's last session began: the server returns no more rows than these."""
    last_start = rows[-1].session_start_time if rows else None
    return last_start is not None and end.last_start is not None and last_start < end.last_start


def owner_of(api: AsleepClient, session_id: str, user_ids: Iterable[str]) -> str | None:
    """Read a session that several users seem to have once for each of them.

    Args:
        api: the client of the Asleep API.
        session_id: the session.
        user_ids: users for whom a list or a stored row names the session.

    Returns:
        The only user for whom the API returns the session; None when there are several or none, or a request fails.
    """
    owners: list[str] = []
    for user_id in sorted(user_ids):
        try:
            api.read_session(user_id, session_id)
        except (Gone, RequestRefused):
            continue
        except SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 it concerns this session alone
            return None
        owners.append(user_id)
    return owners[0] if len(owners) == 1 else None
