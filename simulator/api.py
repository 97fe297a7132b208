"""The calls of the public API contract.

Lives here: routes, checks in their order, answers.  Not here: sockets, faults, rate limit, control calls.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from simulator.averages import averages_of
from simulator.changes import Changes
from simulator.dates import date_parameter, period_of, requested_zone, window_of
from simulator.messages import ApiError, Request, Response, json_response, validation_error
from simulator.model import WITHOUT_STAT, Session, User
from simulator.render import result_of, row_json
from simulator.world import World

USER_ID = re.compile(r"G-\d{14}-[A-Za-z]{20}")
SESSION_ID = re.compile(r"\d{14}(_[a-z0-9]{5})?")
LARGEST_LIMIT = 100
DEFAULT_LIMIT = 20
GENDERS = ("male", "female", "non_binary", "other", "prefer_not_to_say")
METADATA = {"birth_year", "birth_month", "birth_day", "gender", "height", "weight"}

Handler = Callable[["Api", Request, str], Response]


class Api:
    """Answers the calls of the contract from the world as it is now."""

    def __init__(self, world: World, changes: Changes) -> None:
        self.world = world
        self.changes = changes

    def list_sessions(self, request: Request, _: str) -> Response:
        """`GET /data/v1/sessions`."""
        zone_name, zone = requested_zone(request)
        user_id = data_user_id(request)
        window = window_of(date_parameter(request, "date_gte"), date_parameter(request, "date_lte"), zone)
        order = request.query.get("order_by", "DESC")
        if order not in ("ASC", "DESC"):
            raise validation_error("query", "order_by", "value is not a valid enumeration member")
        offset = _integer(request, "offset", 0, None)
        limit = min(_integer(request, "limit", DEFAULT_LIMIT, LARGEST_LIMIT), self.world.behaviour.page_cap)
        user = self.world.user(user_id)
        if user is None and self.world.behaviour.unknown_user_list == "404":
            raise ApiError(404, "user does not exist")
        found = [each for each in self.world.between(user, *window) if each.listed] if user else []
        if order == "DESC":
            found.reverse()
        now = self.world.clock.now()
        rows = b",".join(row_json(session, now, zone) for session in found[offset : offset + limit])
        head = b'{"detail":"OK","result":{"timezone":' + orjson.dumps(zone_name)
        return Response(body=head + b',"sleep_session_list":[' + rows + b"]}}")

    def read_session(self, request: Request, session_id: str) -> Response:
        """`GET /data/v3/sessions/{session_id}`."""
        zone_name, zone = requested_zone(request)
        user_id = data_user_id(request)
        session = self._session_of(session_id, user_id)
        result = result_of(session, self.world.clock.now(), zone_name, zone, self.world.behaviour)
        return json_response({"detail": "OK", "result": result})

    def average_stats(self, request: Request, user_id: str) -> Response:
        """`GET /data/v1/users/{user_id}/average-stats`."""
        zone_name, zone = requested_zone(request)
        if not USER_ID.fullmatch(user_id):
            raise ApiError(400, "The format of x-user-id is invalid")
        first, last = period_of(request)
        user = self._known_user(user_id)
        now = self.world.clock.now()
        sessions = [
            session
            for session in self.world.between(user, *window_of(first, last, zone))
            if session.state(now) == "COMPLETE" and session.finding not in WITHOUT_STAT
        ]
        period = {"timezone": zone_name, "start_date": str(first), "end_date": str(last)}
        averages = averages_of(sessions, now, zone, self.world.behaviour, breathing=user.breathing)
        return json_response({"detail": "OK", "result": {"period": period, **averages}})

    def read_user(self, _: Request, user_id: str) -> Response:
        """`GET /ai/v1/users/{user_id}`."""
        user = self._known_user(ai_user_id(user_id))
        sessions = self.world.begun(user)
        result: dict[str, Any] = {
            "user_id": user.user_id,
            "to_be_deleted": user.to_be_deleted,
            "last_session_info": self._last_session(sessions[-1]) if sessions else None,
        }
        if user.metadata is not None:
            result["metadata"] = user.metadata
        return json_response({"detail": "success", "result": result})

    def create_user(self, request: Request, _: str) -> Response:
        """`POST /ai/v1/users`."""
        try:
            metadata = request.json().get("metadata") or {}
        except orjson.JSONDecodeError as error:
            raise validation_error("body", "body", "not JSON") from error
        if not isinstance(metadata, dict) or not set(metadata) <= METADATA:
            raise validation_error("body", "metadata", "unknown field")
        if metadata.get("gender") not in (*GENDERS, None):
            raise validation_error("body", "gender", "value is not a valid enumeration member")
        user_id = self.changes.apply("create_user", metadata=metadata)["user_id"]
        return json_response({"detail": "success", "result": {"user_id": user_id}}, 201)

    def delete_user(self, _: Request, user_id: str) -> Response:
        """`DELETE /ai/v1/users/{user_id}`."""
        user = self._known_user(ai_user_id(user_id))
        self.changes.apply("delete_user", user_id=user.user_id)
        return Response(204)

    def delete_session(self, request: Request, session_id: str) -> Response:
        """`DELETE /ai/v1/sessions/{session_id}`."""
        user_id = ai_user_id(request.headers.get("x-user-id", ""))
        session = self._session_of(session_id, user_id)
        self.changes.apply("delete_session", session_id=session.session_id)
        return Response(204)

    def delete_all_sessions(self, request: Request, _: str) -> Response:
        """`DELETE /ai/v1/sessions`."""
        user = self._known_user(ai_user_id(request.headers.get("x-user-id", "")))
        for session in list(user.sessions):
            self.changes.apply("delete_session", session_id=session.session_id)
        return Response(204)

    def unknown(self, request: Request, _: str) -> Response:
        """Whatever the contract does not have."""
        raise ApiError(404, f"Not Found: {request.method} {request.path}")

    def _known_user(self, user_id: str) -> User:
        user = self.world.user(user_id)
        if user is None:
            raise ApiError(404, "user does not exist")
        return user

    def _session_of(self, session_id: str, user_id: str) -> Session:
        if not SESSION_ID.fullmatch(session_id):
            raise ApiError(400, "The format of sleep session id is invalid")
        session = self.world.session(session_id)
        if session is None or session.user_id != user_id or self.world.user(user_id) is None:
            raise ApiError(404, "session does not exist")
        return session

    def _last_session(self, session: Session) -> dict[str, Any]:
        """Here timestamps carry no offset."""
        now = self.world.clock.now()
        state = session.state(now)
        return {
            "session_id": session.session_id,
            "inference_type": "MELSPECTROGRAM",
            "service": "demo",
            "start_time": _bare(session.start),
            "end_time": None if state == "OPEN" else _bare(session.end),
            "state": state,
            "complete_time": _bare(session.completed) if state == "COMPLETE" else None,
        }


def _bare(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=None).isoformat()


def data_user_id(request: Request) -> str:
    """The `x-user-id` header of a data call."""
    user_id = request.headers.get("x-user-id")
    if user_id is None:
        raise validation_error("header", "x-user-id", "field required")
    if not USER_ID.fullmatch(user_id):
        raise ApiError(400, "The format of x-user-id is invalid")
    return user_id


def ai_user_id(user_id: str) -> str:
    """A user id of an ai call."""
    if not USER_ID.fullmatch(user_id):
        raise ApiError(401, "x-user-id is invalid")
    return user_id


def _integer(request: Request, name: str, default: int, largest: int | None) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise validation_error("query", name, "value is not a valid integer")
    number = int(text)
    if number < 0 or (largest is not None and number > largest):
        raise validation_error("query", name, f"ensure this value is between 0 and {largest}")
    return number


ROUTES: tuple[tuple[str, str, re.Pattern[str], Handler], ...] = (
    ("read_session", "GET", re.compile(r"/data/v3/sessions/([^/]+)"), Api.read_session),
    ("list_sessions", "GET", re.compile(r"/data/v1/sessions()"), Api.list_sessions),
    ("average_stats", "GET", re.compile(r"/data/v1/users/([^/]+)/average-stats"), Api.average_stats),
    ("read_user", "GET", re.compile(r"/ai/v1/users/([^/]+)"), Api.read_user),
    ("create_user", "POST", re.compile(r"/ai/v1/users()"), Api.create_user),
    ("delete_user", "DELETE", re.compile(r"/ai/v1/users/([^/]+)"), Api.delete_user),
    ("delete_session", "DELETE", re.compile(r"/ai/v1/sessions/([^/]+)"), Api.delete_session),
    ("delete_all_sessions", "DELETE", re.compile(r"/ai/v1/sessions()"), Api.delete_all_sessions),
)


def route_of(request: Request) -> tuple[str, Handler, str]:
    """The endpoint's name, its handler and the id in the path."""
    for name, method, pattern, handler in ROUTES:
        if method == request.method and (match := pattern.fullmatch(request.path)):
            return name, handler, match[1]
    return "unknown", Api.unknown, ""
