"""The calls of the public API contract: routes, checks in their order, answers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from simulator.averages import averages_of
from simulator.changes import Changes
from simulator.dates import date_parameter, period_of, requested_zone, window_of
from simulator.figures import stamp
from simulator.messages import ApiError, Request, Response, json_response, validation_error
from simulator.model import WITHOUT_STAT, Session, User
from simulator.parameters import USER_ID, ai_user_id, data_user_id, integer
from simulator.render import in_chosen_form, result_of, row_json, visible_analysis
from simulator.world import World

SESSION_ID = re.compile(r"\d{14}(_[a-z0-9]{5})?")
DEFAULT_LIMIT = 20
GENDERS = ("male", "female", "non_binary", "other", "prefer_not_to_say")
METADATA = {"birth_year", "birth_month", "birth_day", "gender", "height", "weight"}

Handler = Callable[["Api", Request, str], Response]


class Api:
    """Answers the calls of the contract from the world as it is now.

    Each handler takes the request and the id in its path, and returns the response.
    """

    def __init__(self, world: World, changes: Changes) -> None:
        self.world = world
        self.changes = changes
        self.lists = 0
        """Lists answered with a changing order."""

    def list_sessions(self, request: Request, _: str) -> Response:
        """`GET /data/v1/sessions`."""
        zone_name, zone = requested_zone(request)
        user_id = data_user_id(request)
        window = window_of(date_parameter(request, "date_gte"), date_parameter(request, "date_lte"), zone)
        order = request.query.get("order_by", "DESC")
        if order not in ("ASC", "DESC"):
            raise validation_error("query", "order_by", "value is not a valid enumeration member")
        offset = integer(request, "offset", 0, None)
        behaviour = self.world.behaviour
        limit = min(integer(request, "limit", DEFAULT_LIMIT, int(behaviour.max_limit)), behaviour.page_cap)
        user = self.world.user(user_id)
        if user is None and behaviour.unknown_user_list == "404":
            raise self._no_user(user_id)
        found = self._listed(user, window) if user else []
        if order == "DESC":
            found.reverse()
        now = self.world.clock.now()
        rows = b",".join(row_json(session, now, zone, behaviour) for session in found[offset : offset + limit])
        head = b'{"detail":"%s","result":{"timezone":' % self._detail.encode() + orjson.dumps(zone_name)
        return self._timed(Response(body=head + b',"sleep_session_list":[' + rows + b"]}}"))

    def read_session(self, request: Request, session_id: str) -> Response:
        """`GET /data/v3/sessions/{session_id}`."""
        zone_name, zone = requested_zone(request)
        user_id = data_user_id(request)
        session = self._session_of(session_id, user_id)
        result = result_of(session, self.world.clock.now(), zone_name, zone, self.world.behaviour)
        return self._timed(json_response({"detail": self._detail, "result": result}))

    def average_stats(self, request: Request, user_id: str) -> Response:
        """`GET /data/v1/users/{user_id}/average-stats`."""
        zone_name, zone = requested_zone(request)
        if not USER_ID.fullmatch(user_id):
            raise ApiError(400, "The format of x-user-id is invalid")
        behaviour = self.world.behaviour
        first, last = period_of(request, int(behaviour.max_period_dates))
        user = self._known_user(user_id)
        now = self.world.clock.now()
        shown = () if behaviour.unanalysed_in_averages == "never_slept" else WITHOUT_STAT
        sessions = [
            session
            for session in self._assigned(user, window_of(first, last, zone), behaviour.average_date)
            if session.state(now) == "COMPLETE" and session.finding not in shown
        ]
        period: dict[str, Any] = {"timezone": zone_name, "start_date": str(first), "end_date": str(last)}
        if behaviour.period_days == "present":
            period["days"] = (last - first).days + 1
        averages = averages_of(sessions, now, zone, behaviour, breathing=user.breathing)
        return self._timed(json_response({"detail": self._detail, "result": {"period": period, **averages}}))

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

    @property
    def _detail(self) -> str:
        """The text of a successful data call."""
        return "OK" if self.world.behaviour.success_detail == "by_family" else "success"

    def _timed(self, response: Response) -> Response:
        """The answer of a data call, its timestamps in the chosen form."""
        response.body = in_chosen_form(response.body, self.world.behaviour)
        return response

    def _assigned(self, user: User, window: tuple[datetime, datetime], moment: str) -> list[Session]:
        """The user's sessions whose start, end or awakening lies in the window, by start."""
        if moment == "start":
            return self.world.between(user, *window)
        now = self.world.clock.now()
        return [
            each for each in self.world.begun(user) if window[0] <= moment_that_counts(each, moment, now) < window[1]
        ]

    def _listed(self, user: User, window: tuple[datetime, datetime]) -> list[Session]:
        behaviour = self.world.behaviour
        found = [each for each in self._assigned(user, window, behaviour.list_date) if each.listed]
        if behaviour.equal_starts == "changing":
            self.lists += 1
            found.sort(key=lambda each: (each.start, each.session_id if self.lists % 2 else each.session_id[::-1]))
        return found

    def _no_user(self, user_id: str) -> ApiError:
        texts = {"older": "user not exist", "with_id": f"Unable to find the user of id {user_id}"}
        return ApiError(404, texts.get(self.world.behaviour.not_found_text, "user does not exist"))

    def _known_user(self, user_id: str) -> User:
        user = self.world.user(user_id)
        if user is None:
            raise self._no_user(user_id)
        return user

    def _session_of(self, session_id: str, user_id: str) -> Session:
        if not SESSION_ID.fullmatch(session_id):
            raise ApiError(400, "The format of sleep session id is invalid")
        session = self.world.session(session_id)
        if session is None or session.user_id != user_id or self.world.user(user_id) is None:
            newest = self.world.behaviour.not_found_text == "newest"
            raise ApiError(404, "session does not exist" if newest else "Session not found")
        return session

    def _last_session(self, session: Session) -> dict[str, Any]:
        """Here timestamps carry no offset, unless they have the names of list rows."""
        now = self.world.clock.now()
        state = session.state(now)
        if self.world.behaviour.last_session_names == "session":
            return {
                "session_id": session.session_id,
                "state": state,
                "session_start_time": stamp(session.start, UTC),
                "session_end_time": stamp(session.end, UTC) if session.end and state != "OPEN" else None,
                "complete_time": stamp(session.completed, UTC) if session.completed and state == "COMPLETE" else None,
            }
        return {
            "session_id": session.session_id,
            "inference_type": "MELSPECTROGRAM",
            "service": "demo",
            "start_time": _bare(session.start),
            "end_time": None if state == "OPEN" else _bare(session.end),
            "state": state,
            "complete_time": _bare(session.completed) if state == "COMPLETE" else None,
        }


def moment_that_counts(session: Session, moment: str, now: datetime) -> datetime:
    """The end of a session, or its awakening; the start while it runs."""
    if session.end is None or session.state(now) == "OPEN":
        return session.start
    analysis = visible_analysis(session, now) if moment == "wake" else None
    after = analysis.figures.wakeup_latency if analysis and analysis.figures.slept else 0
    return session.end - timedelta(seconds=after)


def _bare(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=None).isoformat()


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
