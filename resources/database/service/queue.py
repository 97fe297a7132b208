"""A queue in a table: an item is taken for a while, then done, given back, tried again after a pause, or parked."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    Update,
    case,
    delete,
    func,
    select,
    true,
    update,
)


class QueueCounts(NamedTuple):
    """How full a queue is."""

    waiting: int
    """Not handled yet."""
    oldest_seconds: float
    """Age of the oldest of them; 0 when there is none."""
    parked: int
    """Given up after too many attempts: a person has to decide."""


class Policy(NamedTuple):
    """How often an item is tried, and after which pauses."""

    max_attempts: int
    first_pause: float
    factor: float
    """By which each further failure lengthens the pause."""
    max_pause: float


class Queue:
    """A table of items, over a connection that is in a transaction."""

    _table: ClassVar[Table]
    _arrived: ClassVar[str]
    _done: ClassVar[str]
    _given_up: ClassVar[str]
    """Columns with the moments at which an item came, was handled, and was given up."""
    _is_waiting: ClassVar[ColumnElement[bool]]
    _is_parked: ClassVar[ColumnElement[bool]]
    _policy: ClassVar[Policy]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _id(self) -> Column[int]:
        return next(iter(self._table.primary_key))

    def mark_done(self, ids: Collection[int]) -> None:
        """These items were handled; do it in the transaction that stored what they brought."""
        done = {self._done: func.clock_timestamp(), "error": None}
        self._connection.execute(update(self._table).where(self._id.in_(ids)).values(done))

    def drop(self, ids: Collection[int]) -> None:
        """Remove items that we may not keep, such as those of an erased user."""
        self._connection.execute(delete(self._table).where(self._id.in_(ids)))

    def count(self) -> QueueCounts:
        """Count items that wait and that are parked; quick however many were handled."""
        age = func.date_part("epoch", func.clock_timestamp() - func.min(self._table.c[self._arrived]))
        parked = select(func.count()).select_from(self._table).where(self._is_parked).scalar_subquery()
        query = select(func.count(), func.coalesce(age, 0.0), parked).select_from(self._table).where(self._is_waiting)
        return QueueCounts(*self._connection.execute(query).one())

    def requeue_parked(self, ids: Collection[int] | None = None) -> int:
        """Give parked items (None: all) as many attempts as new ones; returns how many."""
        values = {self._given_up: None, "error": None, "attempts": 0}
        return self._connection.execute(self._due(self._are_parked(ids), 0, values)).rowcount

    def prune(self, before: datetime) -> int:
        """Remove items handled before a moment; those that wait stay. Returns how many went."""
        return self._connection.execute(delete(self._table).where(self._table.c[self._done] < before)).rowcount

    def _take(self, limit: int, lease_seconds: float, *more: ColumnElement[bool]) -> list[Row[Any]]:
        """Claim items that are due, oldest first; commit before handling them. No two processes get the same one."""
        due = self._waiting_for(0).where(*more).order_by(self._table.c.next_attempt_at, self._id)
        due = due.limit(limit).with_for_update(skip_locked=True)
        is_due = self._id == due.cte("due").c[self._id.name]
        claim = self._due(is_due, lease_seconds, {"attempts": self._table.c.attempts + 1}).returning(self._table)
        return sorted(self._connection.execute(claim), key=lambda row: row[0])

    def _give_back(self, ids: Collection[int], seconds: float, **values: Any) -> None:
        """Items taken and not tried are due again after a pause; the attempt does not count."""
        values["attempts"] = func.greatest(self._table.c.attempts - 1, 0)
        self._connection.execute(self._due(self._id.in_(ids) & self._is_waiting, seconds, values))

    def _mark_failed(self, item: int, error: str, *, is_hopeless: bool = False) -> int | None:
        """Try an item again after a pause, or park it after the last attempt; the attempts when it is parked now."""
        attempts, policy = self._table.c.attempts, self._policy
        is_last = true() if is_hopeless else attempts >= policy.max_attempts
        values = {"error": error, self._given_up: case((is_last, func.clock_timestamp()))}
        pause = policy.first_pause * func.power(policy.factor, func.greatest(attempts, 1) - 1)
        failed = self._due((self._id == item) & self._is_waiting, func.least(pause, policy.max_pause), values)
        taken: int | None = self._connection.scalar(failed.returning(case((self._is_parked, attempts))))
        return taken

    def _waiting_for(self, seconds: float) -> Select[int]:
        """Ids of items that have been due for some seconds."""
        due_since = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        return select(self._id).where(self._is_waiting, self._table.c.next_attempt_at <= due_since)

    def _are_parked(self, ids: Collection[int] | None) -> ColumnElement[bool]:
        return self._is_parked & (true() if ids is None else self._id.in_(ids))

    def _due(self, which: ColumnElement[bool], seconds: Any, values: dict[str, Any]) -> Update:
        """A statement by which items are due after some seconds, with other values beside."""
        due_at = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        return update(self._table).where(which).values(values | {"next_attempt_at": due_at})
