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

from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Gone, RequestRefused, Unavailable
from resources.database.sync.list_cache import ListEnd, ListEnds

MAX_CONFIRMING_LISTS = 5
"""More than one is needed only where no user has more sessions than the longest page and one has had none for days."""
QUIET = timedelta(days=3)
"""A list that ends so long before its window may be whole by chance, and others of its length cut."""
EARLIER = timedelta(days=120)
"""The confirming page begins so long before the list's window: enough nights for a page of 100 rows."""


class NotConfirmed(Exception):
    """A list could not be requested again."""

    def __init__(self, end: ListEnd, error: AsleepError) -> None:
        super().__init__(str(error))
        self.end = end
        self.error = error


def size_of_cut_pages(api: AsleepClient, ends: ListEnds) -> int | None:
    """Request one more page; returns the rows that last pages of cut lists have at least, None when no list was cut.

    Args:
        api: the client.
        ends: the lists to confirm.

    Raises:
        NotConfirmed: the page could not be requested.
    """
    for end in ends.first:
        ids = _ids_from_the_second_row(api, end)
        if end.last_session_id not in ids and end.rows > 1:
            return len(ids)
        if ids and ids[-1] != end.last_session_id:
            return end.last_page_rows
        if len(ids) > ends.longest_page or not _is_quiet(end):
            return None
    return None


def _ids_from_the_second_row(api: AsleepClient, end: ListEnd) -> list[str]:
    first, last = Window(end.window_start, end.window_end).days_to_list
    try:
        page = api.list_page(end.user_id, first - EARLIER, last, offset=1)
        if not page and end.rows > 1:
            raise Unavailable("the list is empty now")
    except AsleepError as error:
        if error.stops_everything:
            raise
        raise NotConfirmed(end, error) from None
    return list(dict.fromkeys(row.session_id for row in page))


def _is_quiet(end: ListEnd) -> bool:
    """True when the user has had no session for days."""
    return end.last_start is None or end.last_start < end.window_end - QUIET


def owner_of(api: AsleepClient, session_id: str, user_ids: Iterable[str]) -> str | None:
    """Read a session that two users are said to have once for each; returns the only one for whom the API returns it.

    Args:
        api: the client.
        session_id: the session.
        user_ids: the users.

    Returns:
        None when the API returns it for several or none of them, or cannot be asked.
    """
    owners: list[str] = []
    for user_id in sorted(user_ids):
        try:
            api.read_session(user_id, session_id)
        except (Gone, RequestRefused):
            continue
        except AsleepError:
            return None
        owners.append(user_id)
    return owners[0] if len(owners) == 1 else None
