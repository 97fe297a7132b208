"""Faults on demand: which rule hits which request, the same for the same seed."""

from collections import Counter
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any, NamedTuple

from simulator.behaviour import MAX_PAGE
from simulator.changes import Changes
from simulator.fault_kinds import AFTER, BEFORE, Effects
from simulator.messages import ApiError, Request, Response

Json = dict[str, Any]


class Target(NamedTuple):
    """One request, as far as rules look at it."""

    endpoint: str
    user: str | None
    session: str | None
    request: Request

    @property
    def identity(self) -> str:
        """The same for a repetition of the same request."""
        return f"{self.endpoint} {self.user} {self.session} {sorted(self.request.query.items())}"


@dataclass(slots=True)
class Rule:
    """One kind of fault and the requests that it hits; without any choice all of them."""

    kind: str
    endpoint: str | None = None
    user: str | None = None
    users: list[str] | None = None
    """Only these users."""
    share_of_users: float | None = None
    """Only so large a part of the users, drawn once for each user."""
    session: str | None = None
    share: float | None = None
    """Probability for each request; repetitions are drawn anew."""
    count: int | None = None
    """Only the first n requests."""
    every: int | None = None
    """Only each nth request."""
    per_target: int | None = None
    """Only the first n of each distinct request, so that a repetition succeeds."""
    per_user: int | None = None
    """Only the first n of each user."""
    after: int = 0
    """Spare the first n matching requests."""
    seconds: float | None = None
    """The rule ends this long after its first hit."""
    status: int | None = None
    retry_after: str | None = None
    message: str | None = None
    mebibytes: int = 64
    drip_seconds: float = 30.0
    delay_seconds: float = 0.05
    """For `late_body`: seconds between head and body."""
    repeat: int = 1
    """For `interim`: how many interim responses precede the answer."""
    cap: int = 20
    damage: str = "lost"
    """For `damaged_stages`: `lost` or `wake`."""
    changes: Json | None = None
    """For `wrong_types`: dotted path in `result` → value."""
    matched: int = 0
    hits: int = 0
    first_hit_at: float | None = None
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if not 1 <= self.cap <= MAX_PAGE:
            raise ApiError(422, f"cap: {self.cap} is not from 1 to {MAX_PAGE}")
        if self.damage not in ("lost", "wake"):
            raise ApiError(422, f"damage: {self.damage} is neither lost nor wake")
        if self.kind == "interim" and self.status not in (None, 102, 103):
            raise ApiError(422, f"status: {self.status} is no interim response that a server may send unasked")

    def applies(self, target: Target, seed: str) -> bool:
        """Whether this request is hit; each call counts as one request.

        Args:
            target: what the request is about.
            seed: of the simulator: the same seed hits the same requests.
        """
        if not self._concerns(target, seed):
            return False
        self.matched += 1
        if self.matched <= self.after or self._is_over(target.request.arrived):
            return False
        self.seen[target.identity] += 1
        self.seen[f"user {target.user}"] += 1
        if not self._chooses(target, seed):
            return False
        self.hits += 1
        if self.first_hit_at is None:
            self.first_hit_at = target.request.arrived
        return True

    def _concerns(self, target: Target, seed: str) -> bool:
        wanted = (self.endpoint, self.user, self.session)
        if not all(want is None or want == has for want, has in zip(wanted, target[:3], strict=True)):
            return False
        if self.users is not None and target.user not in self.users:
            return False
        if self.share_of_users is None:
            return True
        return Random(f"{seed} {self.kind} of {target.user}").random() < self.share_of_users

    def _is_over(self, now: float) -> bool:
        begun = self.first_hit_at
        return self.seconds is not None and begun is not None and now >= begun + self.seconds

    def _chooses(self, target: Target, seed: str) -> bool:
        identity = target.identity
        if self.count is not None and self.hits >= self.count:
            return False
        if self.every is not None and (self.matched - self.after) % self.every:
            return False
        if self.per_target is not None and self.seen[identity] > self.per_target:
            return False
        if self.per_user is not None and self.seen[f"user {target.user}"] > self.per_user:
            return False
        dice = Random(f"{seed} {self.kind} {identity} {self.seen[identity]}") if self.share is not None else None
        return dice is None or dice.random() < (self.share or 0.0)


SETTABLE = {each.name for each in fields(Rule)} - {"matched", "hits", "first_hit_at", "seen"}


class Faults:
    """The rules in force."""

    def __init__(self, changes: Changes) -> None:
        self.rules: list[Rule] = []
        self._effects = Effects(changes)
        self._seed = str(changes.world.seed)
        self.hits: Counter[str] = Counter()

    def add(self, rules: list[Json]) -> None:
        """More rules, after those in force; all of them or, when one is wrong, none."""
        found = []
        for each in rules:
            wrong = set(each) - SETTABLE
            if wrong or not self._effects.has(str(each.get("kind"))):
                raise ApiError(422, f"unknown kind or field of a fault: {each.get('kind')} {sorted(wrong)}")
            found.append(Rule(**each))
        self.rules += found

    def clear(self) -> None:
        """No faults any more."""
        self.rules.clear()

    def summary(self) -> list[Json]:
        """The rules with how many requests they looked at and hit."""
        names = sorted(SETTABLE)
        return [
            {name: getattr(rule, name) for name in names if getattr(rule, name) is not None}
            | {"matched": rule.matched, "hits": rule.hits}
            for rule in self.rules
        ]

    def before(self, target: Target) -> Response | None:
        """An answer that takes the place of the contract's, if a rule applies."""
        for number, rule in enumerate(self.rules):
            effect = BEFORE.get(rule.kind) or self._effects.status_kind(rule.kind)
            if effect and self._effects.can_hit(rule.kind, target) and rule.applies(target, f"{self._seed} {number}"):
                self.hits[rule.kind] += 1
                response = effect(self._effects, rule, target)
                if response is not None:
                    return response
        return None

    def after(self, target: Target, response: Response) -> Response:
        """The contract's answer, spoilt by whichever rules apply.

        Args:
            target: what the request is about.
            response: what the API would return.
        """
        for number, rule in enumerate(self.rules):
            effect = AFTER.get(rule.kind)
            meant = effect and self._effects.can_hit(rule.kind, target, response)
            if effect and meant and rule.applies(target, f"{self._seed} {number}"):
                self.hits[rule.kind] += 1
                response = effect(self._effects, rule, target, response)
        return response
