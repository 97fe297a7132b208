"""The control plane under `/_simulator/`: what a test may look at and change. It needs no key."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

import orjson

from simulator.changes import Changes
from simulator.faults import Faults
from simulator.messages import ApiError, Request, Response, json_response
from simulator.rate import RateLimit
from simulator.render import result_of
from simulator.traffic import Traffic
from simulator.truth import expected_tables, least_requests, truth_chunks, users_csv, users_of
from simulator.webhooks import Order, send
from simulator.world import World

Answer = Callable[["Control", Request, str], Response]


def _stay(_seconds: float) -> None:
    """Before the server listens."""


@dataclass(slots=True)
class Control:
    """Answers the calls of the control plane.

    Each handler takes the request and the id in its path, and returns the response.
    """

    world: World
    changes: Changes
    traffic: Traffic
    faults: Faults
    limit: RateLimit
    away_for: Callable[[float], None] = _stay
    """Stops listening for that number of seconds."""

    def answer(self, request: Request) -> Response:
        """Find the call and answer it; mistakes are answered as by the API."""
        for method, pattern, call in ROUTES:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                try:
                    return call(self, request, match[1])
                except ApiError as error:
                    return error.response()
                except (ValueError, KeyError, TypeError) as error:
                    return ApiError(422, f"{type(error).__name__}: {error}").response()
        return ApiError(404, "no such call of the control plane").response()

    def stats(self, _request: Request, _: str) -> Response:
        """What was asked since the last reset."""
        return json_response(
            self.traffic.summary() | {"faults": dict(self.faults.hits), "now": self.world.clock.now().isoformat()}
        )

    def reset_stats(self, _request: Request, _: str) -> Response:
        """Count from zero."""
        self.traffic.reset()
        self.faults.hits.clear()
        return json_response({})

    def log(self, request: Request, _: str) -> Response:
        """The single requests after number `since`."""
        since = int(request.query.get("since", "0"))
        return json_response([each._asdict() for each in self.traffic.log if each.number > since])

    def users(self, _request: Request, _: str) -> Response:
        """Every user with its tags."""
        return json_response(users_of(self.world))

    def users_as_csv(self, _request: Request, _: str) -> Response:
        """A file that registers every user."""
        return Response(body=users_csv(self.world).encode(), content_type="text/csv; charset=utf-8")

    def truth(self, request: Request, _: str) -> Response:
        """What the API would answer now."""
        return Response(chunks=truth_chunks(self.world, request))

    def expected_tables(self, request: Request, _: str) -> Response:
        """What the tables of a perfect mirror hold."""
        return json_response(expected_tables(self.world, request))

    def least_requests(self, request: Request, _: str) -> Response:
        """The fewest requests with which a window can be read completely."""
        return json_response(least_requests(self.world, request))

    def add_session(self, request: Request, _: str) -> Response:
        """A new session, or a list of them."""
        found = orjson.loads(request.body)
        if isinstance(found, list):
            return json_response([self.changes.apply("add_session", **each) for each in found], 201)
        return json_response(self.changes.apply("add_session", **found), 201)

    def delete_session(self, _request: Request, name: str) -> Response:
        """A session goes."""
        return json_response(self.changes.apply("delete_session", session_id=name))

    def change_session(self, request: Request, name: str) -> Response:
        """`close`, `complete` or `reanalyse` a session, or say whether it is `listed`."""
        change = request.path.rpartition("/")[2]
        return json_response(self.changes.apply(change, session_id=name, **request.json()))

    def add_user(self, request: Request, _: str) -> Response:
        """A new user."""
        return json_response(self.changes.apply("create_user", **request.json()), 201)

    def delete_user(self, _request: Request, name: str) -> Response:
        """A user goes, with everything."""
        return json_response(self.changes.apply("delete_user", user_id=name))

    def to_be_deleted(self, request: Request, name: str) -> Response:
        """A user's deletion is scheduled."""
        return json_response(self.changes.apply("to_be_deleted", user_id=name, **request.json()))

    def clock(self, request: Request, _: str) -> Response:
        """Another now."""
        return json_response(self.changes.apply("clock", **request.json()))

    def keys(self, request: Request, _: str) -> Response:
        """Other valid keys."""
        self.world.behaviour.keys = tuple(request.json()["keys"])
        return json_response({"keys": len(self.world.behaviour.keys)})

    def rate(self, request: Request, _: str) -> Response:
        """Another rate limit."""
        self.limit.change(float(request.json()["rate"]))
        return json_response({"rate": self.limit.rate})

    def show_faults(self, _request: Request, _: str) -> Response:
        """The rules in force and how often each hit."""
        return json_response(self.faults.summary())

    def add_faults(self, request: Request, _: str) -> Response:
        """More faults: a list of rules, or one."""
        found = orjson.loads(request.body)
        self.faults.add(found if isinstance(found, list) else [found])
        return json_response(self.faults.summary(), 201)

    def clear_faults(self, _request: Request, _: str) -> Response:
        """No faults any more."""
        self.faults.clear()
        return json_response([])

    def send_webhook(self, request: Request, _: str) -> Response:
        """One event to a callback address, and what it answered."""
        order = Order(**request.json())
        session = self.world.session(order.session_id)
        if session is None:
            raise ApiError(404, "session does not exist")
        result = result_of(session, self.world.clock.now(), "UTC", UTC, self.world.behaviour)
        result = orjson.loads(orjson.dumps(result))
        return Response(work=lambda: json_response(send(order, session.user_id, result)))

    def refuse(self, request: Request, _: str) -> Response:
        """Stop listening for a while, control plane included."""
        self.away_for(float(request.json()["seconds"]))
        return json_response({})

    def behaviour(self, request: Request, _: str) -> Response:
        """Other choices where the contract leaves one; all of them come back."""
        for name, value in request.json().items():
            self.world.behaviour.change(name, value)
        self.world.forget_renderings()
        return json_response(self.world.behaviour.summary())


def _route(method: str, path: str, call: Answer) -> tuple[str, re.Pattern[str], Answer]:
    return method, re.compile(f"/_simulator/{path}"), call


ROUTES = (
    _route("GET", "stats()", Control.stats),
    _route("POST", "stats/reset()", Control.reset_stats),
    _route("GET", "log()", Control.log),
    _route("GET", "users()", Control.users),
    _route("GET", r"users\.csv()", Control.users_as_csv),
    _route("POST", "users()", Control.add_user),
    _route("POST", "users/([^/]+)/delete", Control.delete_user),
    _route("POST", "users/([^/]+)/to_be_deleted", Control.to_be_deleted),
    _route("GET", "truth()", Control.truth),
    _route("GET", "expected_tables()", Control.expected_tables),
    _route("GET", "least_requests()", Control.least_requests),
    _route("POST", "sessions()", Control.add_session),
    _route("DELETE", "sessions/([^/]+)", Control.delete_session),
    _route("POST", "sessions/([^/]+)/(?:close|complete|reanalyse|listed)", Control.change_session),
    _route("POST", "clock()", Control.clock),
    _route("POST", "keys()", Control.keys),
    _route("POST", "rate()", Control.rate),
    _route("POST", "behaviour()", Control.behaviour),
    _route("POST", "webhooks()", Control.send_webhook),
    _route("POST", "refuse()", Control.refuse),
    _route("GET", "faults()", Control.show_faults),
    _route("POST", "faults()", Control.add_faults),
    _route("DELETE", "faults()", Control.clear_faults),
)
