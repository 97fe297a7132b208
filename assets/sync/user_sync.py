"""One user's sync by lists: list the window, read what is new or changed, look again where answers contradict.

A session is called deleted only after a second look: it is missing from the list and the API does not find it by id
either. When list and session contradict each other, the list is requested once more.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from assets.sync.api_requests import Steps, together
from assets.sync.user_steps import NOT_LISTED, Rows, UserSteps
from assets.sync.window import Window
from resources.asleep.errors import Malformed, SessionGone
from resources.asleep.records import COMPLETE, ListedSession, SleepSession
from resources.database.sync.stored_sessions import StoredSession


@dataclass(slots=True)
class ListSync(UserSteps):
    """Makes the tables equal to what the API lists of the window, and of older sessions that were not final."""

    refetch: bool = False  # read every listed session in full, also those that are stored and unchanged
    doubtful: dict[str, tuple[SessionGone, datetime]] = field(default_factory=dict)
    """Listed, but not found when they were read; and when that request was sent."""
    unlisted: set[str] = field(default_factory=set)  # read, but not listed: the list may lack others too

    def steps(self) -> Steps[None]:
        """List, decide, read, look again, finish."""
        window = self.outcome.window
        rows = yield from self.list_window(window)
        if rows is None:
            return
        self.listed = rows
        due = {s.session_id for s in self.missing() if s.session_start_time in window.listed}
        is_doubtful = not rows and (due or self.outcome.user.is_suspected)
        if is_doubtful and not (yield from self._user_exists()):
            return
        unchecked = {s.session_id for s in self.stored.values() if s.deletion_is_unchecked}
        wanted = self.changed(rows) | due | unchecked | self.outcome.failed_session_ids
        old_days = sorted({s.session_start_time.date() for s in self.missing() if s.session_id not in wanted})
        reads = (self.read(session_id) for session_id in sorted(wanted))
        yield from together([*reads, *(self.list_old_day(day) for day in old_days)])
        if self.is_contradicted():
            yield from self.read_again()
        if self.is_contradicted():  # which response is right cannot be decided
            for session_id, (error, _) in self.doubtful.items():
                self.outcome.fail(session_id, error, "The API lists this session but does not find it by its id.")
            if self.unlisted:
                self.outcome.fail(None, Malformed(NOT_LISTED))
        yield from self._list_changed_days()

    def fill(self) -> Steps[None]:
        """Read all stored sessions in full, then list their days."""
        yield from together(self.read(session_id) for session_id in sorted(self.stored))
        yield from self._list_changed_days()

    def missing(self) -> list[StoredSession]:
        """Stored sessions that no list named."""
        return [s for s in self.stored.values() if s.session_id not in self.listed and not s.deleted]

    def changed(self, rows: Rows) -> set[str]:
        """Listed sessions to read. The others are counted, and their last chunk is noted when it was not known."""
        wanted = {
            i for i, row in rows.items() if self.refetch or needs_reading(row, self.stored.get(i))
        } - self.requested
        unchanged = rows.keys() - wanted - self.requested
        self.outcome.unchanged += len(unchanged)
        for session_id in sorted(unchanged):
            self._note_unchanged(session_id)
        return wanted

    def list_old_day(self, day: date) -> Steps[None]:
        """A day before the window, on which stored sessions began that were not final: look at those alone."""
        window = Window.of_days(day, day)
        old = {s.session_id for s in self.missing() if s.session_start_time in window}
        rows = yield from self.list_window(window)
        if rows is None:
            return
        found = {i: rows[i] for i in old & rows.keys()}
        self.listed.update(found)
        wanted = (old - rows.keys() - self.requested) | self.changed(found)
        yield from together(self.read(session_id) for session_id in sorted(wanted))

    def _have_read(self, session: SleepSession) -> None:
        """Take the row, and notice a session that the list should have named."""
        self.outcome.rows.append(self._full_row(session))
        was_due = self.outcome.listed_at is not None and session.session_start_time in self.outcome.window
        if was_due and session.session_id not in self.listed:
            self.unlisted.add(session.session_id)
        else:
            self._note_changed(session)

    def _not_found(self, session_id: str, error: SessionGone, sent_at: datetime) -> None:
        """Note the session as deleted; when the list names it, one of the two is wrong: `read_again` decides."""
        if session_id in self.listed:
            self.doubtful[session_id] = (error, sent_at)
        else:
            self.outcome.session_is_gone(session_id, sent_at)

    def is_contradicted(self) -> bool:
        """True when list and sessions contradict each other."""
        return not self.outcome.gone and bool(self.doubtful or self.unlisted)

    def read_again(self) -> Steps[None]:
        """Request the list once more: what it lacks now is deleted, what it names now was late."""
        self.outcome.list_lacked_a_session |= bool(self.unlisted)
        rows = yield from self.list_window(self.outcome.window, until_empty=True)
        if rows is None:
            return
        for session_id in self.doubtful.keys() - rows.keys():
            self.outcome.session_is_gone(session_id, self.doubtful.pop(session_id)[1])
        self.outcome.last_chunks.extend((i, rows[i].last_received_seq_num) for i in sorted(self.unlisted & rows.keys()))
        self.unlisted -= rows.keys()
        new = {i: row for i, row in rows.items() if i not in self.listed}
        self.listed.update(new)
        yield from together(self.read(session_id) for session_id in sorted(self.changed(new)))


def needs_reading(row: ListedSession, stored: StoredSession | None) -> bool:
    """True when a listed session must be read in full: new, never read in full, deleted before, or changed.

    A session that is still running is read again only when its list row moved: without a new chunk or state its
    stages cannot have changed. What the list leaves out, or gives in an unreadable form, is no change.

    Args:
        row: the session's row of the list.
        stored: the same session as stored; None when it is new.
    """
    if stored is None or stored.deleted or not stored.in_full:
        return True
    pairs = (
        (row.session_start_time, stored.session_start_time),
        (row.session_end_time, stored.session_end_time),
        (row.unexpected_end_time, stored.unexpected_end_time),
        (row.created_timezone, stored.created_timezone),
    )
    return (
        row.state != stored.state
        or any(theirs is not None and theirs != ours for theirs, ours in pairs)
        or _more_arrived(row, stored)
    )


def _more_arrived(row: ListedSession, stored: StoredSession) -> bool:
    """Another last chunk. A missing number is no change; nor is the first one, once all is final."""
    if row.last_received_seq_num is None or (stored.last_received_seq_num is None and stored.state == COMPLETE):
        return False
    return row.last_received_seq_num != stored.last_received_seq_num
