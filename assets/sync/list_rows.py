"""What a row of the list tells about a session that is stored.

Lives here: whether the session must be read in full again.  Not here: questions, answers, rows of tables.
"""

from resources.asleep.records import COMPLETE, ListedSession
from resources.database.sync.sync_state import StoredSession


def wants_reading(row: ListedSession, stored: StoredSession | None) -> bool:
    """True when a listed session must be read in full: new, never read in full, deleted before, or changed.

    A session that is still running is read again only when its list row moved: without a new chunk or state its
    stages cannot have changed. What the list leaves out, or tells unreadably, is no news.
    """
    if stored is None or stored.deleted or not stored.in_full:
        return True
    told = (
        (row.session_start_time, stored.session_start_time),
        (row.session_end_time, stored.session_end_time),
        (row.unexpected_end_time, stored.unexpected_end_time),
        (row.created_timezone, stored.created_timezone),
    )
    return (
        row.state != stored.state
        or any(said is not None and said != known for said, known in told)
        or _more_arrived(row, stored)
    )


def _more_arrived(row: ListedSession, stored: StoredSession) -> bool:
    """Another last chunk. A list that does not tell it is no news; nor is the first telling, once all is final."""
    if row.last_received_seq_num is None or (stored.last_received_seq_num is None and stored.state == COMPLETE):
        return False
    return row.last_received_seq_num != stored.last_received_seq_num
