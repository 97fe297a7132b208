"""What a perfect mirror would hold: every user, every session, the fewest requests to read them."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import orjson

from simulator.dates import date_parameter, window_of
from simulator.expected_tables import expected_rows
from simulator.figures import stamp
from simulator.messages import Request
from simulator.model import Session, User
from simulator.render import in_chosen_form, result_of, row_of
from simulator.world import World

Json = dict[str, Any]
BATCH_BYTES = 256 * 1024


def users_of(world: World) -> list[Json]:
    """Every user, also deleted ones, with tags and the number of sessions under each tag."""
    found = []
    for user in world.users.values():
        sessions = world.begun(user)
        tagged: dict[str, list[str]] = {}
        for session in sessions:
            for tag in session.tags:
                tagged.setdefault(tag, []).append(session.session_id)
        found.append(
            {
                "user_id": user.user_id,
                "timezone": user.timezone,
                "tags": sorted(user.tags),
                "breathing": user.breathing,
                "to_be_deleted": user.to_be_deleted,
                "deleted": user.deleted,
                "sessions": len(sessions),
                "tagged_sessions": tagged,
            }
        )
    return found


def users_csv(world: World) -> str:
    """`user_id,timezone` of every user that is not deleted."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["user_id", "timezone"])
    lines.writerows([user.user_id, user.timezone] for user in world.users.values() if not user.deleted)
    return text.getvalue()


def truth_chunks(world: World, request: Request) -> Iterator[bytes]:
    """The truth as one JSON document, in pieces, so that it need not fit into memory twice.

    Args:
        world: users, sessions, clock and behaviour.
        request: the request.
    """
    window = window_of(date_parameter(request, "from"), date_parameter(request, "to"), UTC)
    wanted = request.query.get("user")
    users = [user for user in world.users.values() if wanted in (None, user.user_id)]

    def chunks() -> Iterator[bytes]:
        piece = bytearray(b'{"now":' + orjson.dumps(stamp(world.clock.now(), UTC)) + b',"users":[')
        for place, user in enumerate(users):
            piece += b"," if place else b""
            head = orjson.dumps(_user_truth(user))[:-1]
            sessions = b",".join(_session_truth(world, each) for each in world.between(user, *window))
            piece += head + b',"sessions":[' + sessions + b"]}"
            if len(piece) > BATCH_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece) + b"]}"

    return chunks()


def expected_tables(world: World, request: Request) -> Json:
    """The rows of a mirror of the window. With `registered=zones` its users are registered with their zones.

    Args:
        world: users, sessions, clock and behaviour.
        request: the request.
    """
    truth = orjson.loads(b"".join(truth_chunks(world, request)))
    with_zones = request.query.get("registered") == "zones"
    users = [user for user in truth["users"] if not user["deleted"]]
    rows = [row for user in users for row in expected_rows(user, user["timezone"] if with_zones else None)]
    return {"sleep_sessions": rows}


def _user_truth(user: User) -> Json:
    return {
        "user_id": user.user_id,
        "timezone": user.timezone,
        "deleted": user.deleted,
        "to_be_deleted": user.to_be_deleted,
        "deleted_session_ids": user.deleted_session_ids,
    }


def _session_truth(world: World, session: Session) -> bytes:
    now = world.clock.now()
    complete = session.state(now) == "COMPLETE"
    truth = orjson.dumps(
        {
            "row": row_of(session, now, UTC, world.behaviour),
            "result": result_of(session, now, "UTC", UTC, world.behaviour),
            "completed_time": stamp(session.completed, UTC) if complete and session.completed else None,
            "tags": session.tags,
        }
    )
    return in_chosen_form(truth, world.behaviour)


def least_requests(world: World, request: Request) -> Json:
    """Lists and details for a first sync of a window, by pages as large as the service gives.

    Args:
        world: users, sessions, clock and behaviour.
        request: the request.
    """
    window = window_of(date_parameter(request, "from"), date_parameter(request, "to"), UTC)
    page = min(100, world.behaviour.page_cap)
    users = {user.user_id: len(world.between(user, *window)) for user in world.users.values() if not user.deleted}
    lists = sum(count // page + 1 for count in users.values())
    details = sum(users.values())
    return {
        "users": len(users),
        "page": page,
        "list_sessions": lists,
        "list_sessions_until_empty": sum(-(-count // page) + 1 for count in users.values()),
        "read_session": details,
        "total": lists + details,
        "sessions_per_user": users,
    }
