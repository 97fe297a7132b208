"""From a request to an answer, in this order: key, rate limit, faults, contract, count."""

import hmac
import time
from email.utils import formatdate

from simulator.api import Api, route_of
from simulator.cassette import Cassette
from simulator.control import Control
from simulator.faults import Faults, Target
from simulator.messages import ApiError, Request, Response
from simulator.rate import RateLimit
from simulator.traffic import Exchange, Traffic
from simulator.world import World

CONTROL = "/_simulator/"


class Application:
    """Answers every request to the server."""

    def __init__(self, world: World, api: Api, limit: RateLimit, cassette: Cassette | None = None) -> None:
        """Prepare.

        Args:
            world: users, sessions, clock and behaviour.
            api: answers the calls of the contract.
            limit: the rate that each key is allowed.
            cassette: recorded responses, which replace those of `api`.
        """
        self.world = world
        self.cassette = cassette
        self.api = api
        self.limit = limit
        self.traffic = Traffic()
        self.faults = Faults(api.changes)
        self.control = Control(world, api.changes, self.traffic, self.faults, limit)

    def answer(self, request: Request) -> Response:
        """The answer to one request, counted unless it is a call of the control plane."""
        if request.path.startswith(CONTROL):
            return self.control.answer(request)
        endpoint, handler, name = route_of(request)
        about_user = endpoint in ("average_stats", "read_user", "delete_user")
        user = name if about_user else request.headers.get("x-user-id")
        session = name if name and not about_user else None
        target = Target(endpoint, user, session, request)
        try:
            if (response := self.faults.before(target)) is None:
                self._admit(request, endpoint)
                found = (
                    self.cassette.answer(request, self.world.clock.now())
                    if self.cassette
                    else handler(self.api, request, name)
                )
                response = self.faults.after(target, found)
        except ApiError as error:
            response = error.response()
        response.headers["date"] = formatdate(time.time() + self.world.behaviour.clock_ahead, usegmt=True)
        status = 0 if response.delivery.manner in ("reset", "never") else response.status
        client = request.headers.get("user-agent", "")
        number = self.traffic.next_number()
        self.traffic.note(client, Exchange(number, request.arrived, endpoint, user, session, status))
        self.traffic.throttled += status == 429 or (status == 403 and b"Rate limit" in response.body)  # noqa: PLR2004
        return response

    def _admit(self, request: Request, endpoint: str) -> None:
        """The key first, then the rate of that key, then what it may see."""
        key = request.headers.get("x-api-key", "").encode()
        behaviour = self.world.behaviour
        valid_keys = (*behaviour.keys, *filter(None, (behaviour.test_key,)))
        if not any(hmac.compare_digest(key, valid.encode()) for valid in valid_keys):
            raise ApiError(401, "Unauthorized")
        if not self.limit.allows(key.decode(), request.arrived):
            raise ApiError(int(behaviour.throttling), "Rate limit exceeded")
        if behaviour.test_key and hmac.compare_digest(key, behaviour.test_key.encode()):
            raise ApiError(404, f"{'session' if endpoint == 'read_session' else 'user'} does not exist")
