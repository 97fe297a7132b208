"""Faults on demand (placeholder order: before and after the contract's answer)."""

from simulator.changes import Changes
from simulator.messages import Request, Response
from simulator.world import World


class Faults:
    def __init__(self, world: World, changes: Changes) -> None:
        self.world = world
        self.changes = changes

    def target(self, endpoint: str, user: str | None, session: str | None, request: Request) -> None:
        return None

    def before(self, target: None) -> Response | None:
        return None

    def after(self, target: None, response: Response) -> Response:
        return response
