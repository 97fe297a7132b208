"""What one more request settles after users were synced: is a list whole, whose is a session, is the key the right one?

The pager takes a page for the last one when it is shorter than the largest page that the API is known to return. If
the server's pages are shorter than that, the lists that it cut end with pages of one length, and no page is longer.
So one list with a last page of that length shows it for all. Of several such lists the one that ends earliest is
confirmed, because a cut list lacks its newest sessions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Gone, RequestRefused
from resources.asleep.records import SessionList
from resources.database.sync.sync_state import UserToSync

MAX_CONFIRMING_LISTS = 5
"""More than one is needed only where a list cannot be read, or where its user has had no session for days."""
QUIET = timedelta(days=3)
"""A list that ends so long before its window may be whole by chance, and others of its length cut."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ListEnd:
    """The end of a list, taken for the end by the length of its last page alone."""

    user: UserToSync
    window: Window
    rows: int
    last_page_rows: int
    last_session_id: str
    last_start: datetime

    @property
    def is_quiet(self) -> bool:
        """The user has had no session for days."""
        return self.last_start < self.window.end - QUIET


class NotConfirmed(Exception):
    """A list could not be requested again."""

    def __init__(self, end: ListEnd, error: AsleepError) -> None:
        super().__init__(str(error))
        self.end = end
        self.error = error


@dataclass(slots=True)
class ListEnds:
    """The unconfirmed ends of the lists of a batch."""

    ends: list[ListEnd] = field(default_factory=list)

    def add(self, user: UserToSync, window: Window, answer: SessionList) -> None:
        """Note how a list ended.

        Args:
            user: whose list it is.
            window: the window for which it was requested.
            answer: the list.
        """
        if answer.last_page_rows:
            last_start = max((row.session_start_time or _EARLIEST for row in answer.rows), default=_EARLIEST)
            end = ListEnd(user, window, len(answer.rows), answer.last_page_rows, answer.last_session_id, last_start)
            self.ends.append(end)

    @property
    def longest(self) -> int:
        """Rows of the longest last page; 0 when every list's end was confirmed as it was read."""
        return max((end.last_page_rows for end in self.ends), default=0)

    def cut(self, api: AsleepClient) -> list[UserToSync]:
        """Confirm the longest last page; returns the users whose lists were cut, to be read again.

        Raises:
            NotConfirmed: the list could not be requested.
        """
        ends = [end for end in self.ends if end.last_page_rows == self.longest]
        for end in sorted(ends, key=lambda end: end.last_start)[:MAX_CONFIRMING_LISTS]:
            if _rows_follow(api, end):
                return self._take_cut(api, end.last_page_rows)
            if not end.is_quiet:
                break
        return []

    def drop(self, end: ListEnd) -> None:
        """Forget about one list."""
        self.ends.remove(end)

    def _take_cut(self, api: AsleepClient, page_rows: int) -> list[UserToSync]:
        api.page_size.lower(page_rows)
        cut = [end for end in self.ends if end.last_page_rows >= page_rows]
        self.ends = [end for end in self.ends if end.last_page_rows < page_rows]
        return list({end.user.user_id: end.user for end in cut}.values())


def _rows_follow(api: AsleepClient, end: ListEnd) -> bool:
    """Request the page after the end. It begins with the last row, unless pages are too short to overlap."""
    overlap = 1 if end.last_page_rows > 1 else 0
    try:
        page = api.list_page(end.user.user_id, *end.window.days_to_list, offset=end.rows - overlap)
    except AsleepError as error:
        if error.stops_everything:
            raise
        raise NotConfirmed(end, error) from None
    return any(row.session_id != end.last_session_id for row in page)


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
