"""Finds the webhook events of a person, whatever the spelling of the id.

SQL selects the events that may belong to the person; each of these is parsed. The id may be escaped, in another
encoding, surrounded by blanks, in the header only, or missing: then one of the person's sessions identifies the person.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, text

from resources.json_decoding import decode
from resources.load_sql import load_sql

_CHUNK_EVENTS = 200

_SESSIONS = text("SELECT session_id FROM asleep.sleep_sessions WHERE user_id = :user_id")


def events_of_person(connection: Connection, user_id: str) -> list[int]:
    """Return the numbers of the events with the user's id or, without any user's, a stored session of the user.

    Args:
        connection: to read with.
        user_id: whose events.
    """
    sessions = set(connection.scalars(_SESSIONS, {"user_id": user_id}))
    rows = connection.execute(
        load_sql(__package__, "events_that_may_name_person").execution_options(yield_per=_CHUNK_EVENTS),
        {"user_id": user_id, "in_headers": list(_in_headers(user_id))},
    )
    return [row.event_id for row in rows if _names_person(bytes(row.body), row.headers, user_id, sessions)]


def _names_person(body: bytes, headers: Mapping[str, str], user_id: str, session_ids: Collection[str]) -> bool:
    """Whether an event belongs to a person; the person's sessions count when it holds no user's id."""
    try:
        values = list(_strings(decode(body)))
    except ValueError:
        values = [("", word) for word in body.decode("utf-8", "replace").split()]
    in_header = headers.get("x-user-id", "").strip()
    users = {value for key, value in values if key == "user_id"} | {in_header} - {""}
    if in_header in _in_headers(user_id) or any(value == user_id for _, value in values):
        return True
    return not users and any(value in session_ids for _, value in values)


def _in_headers(user_id: str) -> set[str]:
    """How an id may be stored that came in a header: bytes of UTF-8 read as Latin-1, or the reverse."""
    found = {user_id, user_id.encode().decode("latin-1")}
    with suppress(UnicodeError):
        found.add(user_id.encode("latin-1").decode())
    return found


def _strings(root: Any) -> Iterator[tuple[str, str]]:
    """Yield every text in a JSON value, without blanks at its ends, with the name of its field."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str):
            yield key, value.strip()
        elif isinstance(value, dict):
            waiting.extend(value.items())
            yield from (("", name.strip()) for name in value)
        elif isinstance(value, list):
            waiting.extend((key, element) for element in value)
