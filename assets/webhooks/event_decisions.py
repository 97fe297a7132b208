"""What a webhook event contains, and what follows from it; pure functions.

Versions V1 to V3 and both spellings of the outer names are read. What cannot be read in full is read from the API
instead, which always has the last word.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from resources.asleep.identifiers import can_be_sent
from resources.database.sync.stored_sessions import KnownSession
from resources.json_decoding import decode

_WHOLE_RESULT = frozenset({"timezone", "peculiarities", "missing_data_ratio", "session", "stat"})
_WHOLE_SESSION = frozenset(
    {"id", "state", "start_time", "end_time", "created_timezone", "sleep_stages", "breath_stages", "snoring_stages"}
)
_ADDED = frozenset({"user_id", "event", "version", "callback_event", "callback_version", "timestamp"})
"""What webhooks add to the API's result."""


class EventKind(Enum):
    """What happened."""

    SESSION_COMPLETE = "SESSION_COMPLETE"
    INFERENCE_COMPLETE = "INFERENCE_COMPLETE"
    OTHER = "other"


class Action(Enum):
    """What an event needs."""

    STORE_BODY = "store_body"
    """Write the session from the event's own body."""
    FETCH_SESSION = "fetch_session"
    """Read the session from the API."""
    LIST_USER = "list_user"
    """Only the user is known: list the user's recent sessions."""
    KEEP = "keep"
    """Register the user; otherwise nothing to do."""
    DROP = "drop"
    """The user was erased here: remove the event."""
    PARK = "park"
    """Names no user: an operator has to decide."""


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook event, as far as it can be read."""

    kind: EventKind
    version: str | None
    user_id: str | None
    session_id: str | None
    result: dict[str, Any] | None = field(default=None, repr=False)
    """The finished session as section 4 of the contract gives it, only when it is whole and uncontradicted."""


def read_event(body: bytes, headers: Mapping[str, str]) -> Event:
    """Read a body of any version; what is missing or of the wrong type is None, never an error.

    Args:
        body: as received; need not be JSON.
        headers: as received, names in lower case.
    """
    outer = _object(_decoded(body))
    data = _object(outer.get("data", outer.get("callback_data"))) or outer
    result = _object(data.get("sleep_data")) or data
    session = _object(result.get("session"))
    users = _ids(headers.get("x-user-id"), data.get("user_id"), outer.get("user_id"))
    sessions = _ids(session.get("id"), session.get("session_id"), data.get("session_id"), outer.get("session_id"))
    kind = _kind(outer.get("event", outer.get("callback_event")))
    version = outer.get("version", outer.get("callback_version"))
    is_certain = kind is EventKind.SESSION_COMPLETE and len(users) == len(sessions) == 1
    certain_and_whole = is_certain and _is_whole(result)
    return Event(
        kind=kind,
        version=version if isinstance(version, str) else None,
        user_id=_id(data.get("user_id")) or next(iter(users), None),
        session_id=next(iter(sessions), None),
        result={name: result[name] for name in result if name not in _ADDED} if certain_and_whole else None,
    )


def decide(event: Event, *, known: KnownSession | None, user_is_erased: bool) -> Action:
    """What to do about an event; anything that contradicts what is stored is put to the API.

    Args:
        event: as read.
        known: the event's session as stored, None when it is not.
        user_is_erased: whether the event's user was erased here.
    """
    if user_is_erased:
        return Action.DROP
    if event.kind is EventKind.INFERENCE_COMPLETE:
        return Action.KEEP
    if event.user_id is None:
        return Action.FETCH_SESSION if known is not None else Action.PARK
    if event.session_id is None:
        return Action.LIST_USER
    is_news = known is None or not (known.is_final or known.is_deleted or known.user_id != event.user_id)
    return Action.STORE_BODY if event.result is not None and is_news else Action.FETCH_SESSION


def user_to_request(event: Event, known: KnownSession | None) -> str | None:
    """Whose session to request: the stored owner's, so that a false name never makes a session look deleted.

    Args:
        event: as read.
        known: the event's session as stored, None when it is not.
    """
    return event.user_id if known is None else known.user_id


def _decoded(body: bytes) -> Any:
    try:
        return decode(body)
    except ValueError:
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _id(value: Any) -> str | None:
    """The id that a value holds: anything that can be sent as a header and stored, without blanks at its ends."""
    identifier = value.strip() if isinstance(value, str) else ""
    return identifier if can_be_sent(identifier) else None


def _ids(*values: Any) -> dict[str, None]:
    """The different ids among values, in order."""
    return {found: None for value in values if (found := _id(value)) is not None}


def _kind(name: Any) -> EventKind:
    is_known = isinstance(name, str) and name in {EventKind.SESSION_COMPLETE.value, EventKind.INFERENCE_COMPLETE.value}
    return EventKind(name) if is_known else EventKind.OTHER


def _is_whole(result: dict[str, Any]) -> bool:
    """Whether the result has every part that the API's would have, and the session is finished."""
    session, stat = _object(result.get("session")), result.get("stat")
    return (
        result.keys() >= _WHOLE_RESULT
        and session.keys() >= _WHOLE_SESSION
        and session["state"] == "COMPLETE"
        and isinstance(session["start_time"], str)
        and isinstance(session["end_time"], str)
        and isinstance(result["peculiarities"], list)
        and (stat is None or isinstance(stat, dict))
    )
