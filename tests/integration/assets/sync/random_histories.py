"""Random histories of an account, by seed: what happens at the source, which faults the API has, which syncs run.

Does not belong here: assertions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import orjson
from sqlalchemy import Engine, text

from simulator.expected_tables import tzinfo_of
from simulator.webhooks import Order, body_of
from tests.expected_nights import Assigned, Recorded, expected_nights

DAYS = 30
"""Sessions begin within so many days before today, and whole windows have so many days."""
ZONES = ("Asia/Seoul", "America/New_York", "GMT+09:00", "utc+5:30", "Not/AZone", "", "Europe/Berlin")
FINDINGS = (None, None, None, "TOO_SHORT_FOR_ANALYSIS", "TOO_MANY_DEFECTS_IN_SLEEP_STAGES")
FORMS = {
    "never_slept_stat": ("object", "null"),
    "unknown_user_list": ("404", "empty"),
    "sleep_cycle": ("rounded", "fractional"),
    "average_ratios": ("of_sums", "mean"),
    "average_counts": ("number", "integer"),
    "average_date": ("start", "end", "wake"),
    "average_session_names": ("id", "session_id"),
    "average_empty_lists": ("present", "absent"),
    "unanalysed_in_averages": ("absent", "never_slept"),
    "period_days": ("absent", "present"),
    "last_session_names": ("bare", "session"),
    "open_time_in_bed": ("null", "zero", "running"),
    "timestamp_form": ("offset", "z"),
    "success_detail": ("by_family", "success"),
    "not_found_text": ("newest", "older", "with_id"),
    "throttling": ("403", "429"),
    "stage_latency": ("from_onset", "from_start"),
    "list_date": ("start", "end"),
}
"""Choices that the contract leaves open and that stay as they are for a whole history."""
_KEPT = frozenset(
    {"session_start_time", "session_end_time", "unexpected_end_time", "sleep_time", "wake_time", "completed_time"}
    | {"window_start", "window_end", "last_start"}
)
"""Moments that belong to the data, not to when something was done here."""


@dataclass
class History:
    """What has happened at the source, and what a sync of the lists alone cannot know of it."""

    ask: Callable[..., Any]
    """Calls the control plane of the simulated API."""
    register: Callable[[str], None]
    dice: Random
    now: datetime
    users: list[str] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    """User of each session that exists."""
    running: set[str] = field(default_factory=set)
    unanalysable: set[str] = field(default_factory=set)
    """Finished sessions without statistics."""
    shows_unanalysable: bool = False
    """Average-stats names them, so that another analysis of them can be noticed."""
    hidden: set[str] = field(default_factory=set)
    """Sessions that lists lack."""
    reanalysed: set[str] = field(default_factory=set)
    """Sessions analysed again since the last reconciliation that succeeded for their user."""
    lists_were_cut: bool = False
    """In the last run some lists lacked rows, or users were not found, for a part of the run only: sessions not
    stored leave no trace then, and the next run finds them."""
    changes_between_pages: bool = False
    """Sessions came or went with list requests of the last run, maybe with the very last one."""
    lists_were_ever_cut: bool = False
    """Then last chunks may be unknown until a daily sync lists those days."""
    damaged: bool = False
    """Damaged arrays were sent since the last quiet run."""
    analyses: int = 0
    late: list[tuple[str, bytes]] = field(default_factory=list)
    """Events that were not delivered yet: user and body."""
    told: list[str] = field(default_factory=list)
    """Every step, to be shown when the history ends badly."""

    @classmethod
    def begin(cls, seed: int, ask: Callable[..., Any], register: Callable[[str], None]) -> "History":
        """Choose the form of the answers, and fill the account.

        Args:
            seed: which history.
            ask: calls the control plane of the simulated API.
            register: registers a user for syncs.
        """
        history = cls(ask, register, Random(f"history {seed}"), datetime.now(UTC).replace(microsecond=0))  # noqa: S311
        ask("clock", {"real": True})
        forms = {name: values[history.dice.randrange(len(values))] for name, values in FORMS.items()}
        ask("behaviour", forms)
        history.shows_unanalysable = forms["unanalysed_in_averages"] == "never_slept"
        history.told.append(
            f"seed {seed}: { {name: value for name, value in forms.items() if value != FORMS[name][0]} }"
        )
        for _ in range(history.dice.randrange(2, 5)):
            history.add_user(history.dice.choice((0, 3, 12, 30, 45)))
        return history

    def step(self, changes: int) -> None:
        """So many things happen at the source."""
        kinds: list[tuple[int, Callable[[], None]]] = [
            (6, lambda: self.add_sessions(self._user(), self.dice.randrange(1, 4))),
            (3, self.delete_session),
            (4, self.reanalyse),
            (3, self.begin_session),
            (4, self.finish_session),
            (1, self.hide_session),
            (1, lambda: self.add_user(self.dice.randrange(6))),
            (1, self.delete_user),
            (4, self.send_event),
        ]
        for _ in range(changes):
            self.dice.choices([act for _, act in kinds], [weight for weight, _ in kinds])[0]()

    def add_user(self, nights: int) -> None:
        """A registered user with so many sessions."""
        user_id = str(self.ask("users", {"timezone": "Asia/Seoul"})["user_id"])
        self.register(user_id)
        self.users.append(user_id)
        self.told.append(f"  user with {nights} sessions: {user_id}")
        self.add_sessions(user_id, nights)

    def add_sessions(self, user_id: str | None, count: int) -> None:
        """Sessions that ended, most of them analysed."""
        if user_id is None or not count:
            return
        orders = []
        for _ in range(count):
            start = self.now - timedelta(minutes=self.dice.randrange(120, DAYS * 24 * 60))
            epochs = self.dice.choice((30, 60, 110))
            orders.append(
                {"user_id": user_id, "start": start.isoformat(), "epochs": epochs, "zone": self.dice.choice(ZONES),
                 "end": (start + timedelta(seconds=30 * epochs + self.dice.randrange(30))).isoformat(),
                 "night_id": self.dice.choice(("dodh-001", "dodh-002", "wake")),
                 "finding": self.dice.choice(FINDINGS), "missing_epochs": self.dice.choice((0, 0, 5))}
            )  # fmt: skip
        made = self._added(user_id, self.ask("sessions", orders))
        self.unanalysable.update(each for each, order in zip(made, orders, strict=True) if order["finding"])

    def begin_session(self) -> None:
        """A session that runs."""
        if user_id := self._user():
            order = {"user_id": user_id, "start": (self.now - timedelta(hours=1)).isoformat(), "state": "OPEN"}
            made = self._added(user_id, [self.ask("sessions", order | {"epochs": 60})])
            self.running.update(made)

    def finish_session(self) -> None:
        """A running session ends, or is analysed as well."""
        if session_id := self._one_of(self.running):
            change = self.dice.choice(("close", "complete"))
            self.ask(f"sessions/{session_id}/{change}", {})
            self.running -= {session_id} if change == "complete" else set()
            self.told.append(f"  {change} {session_id}")

    def delete_session(self) -> None:
        """The app deletes a session."""
        if session_id := self._one_of(self.sessions):
            self.ask(f"sessions/{session_id}", method="DELETE")
            self._forget(session_id)
            self.told.append(f"  delete {session_id}")

    def hide_session(self) -> None:
        """Lists lack a session from now on."""
        if session_id := self._one_of(self.sessions):
            self.ask(f"sessions/{session_id}/listed", {"listed": False})
            self.hidden.add(session_id)
            self.told.append(f"  hide {session_id}")

    def show_all(self) -> None:
        """Lists are complete again."""
        for session_id in sorted(self.hidden):
            self.ask(f"sessions/{session_id}/listed", {"listed": True})
        self.hidden.clear()

    def reanalyse(self) -> None:
        """A finished session is analysed again: another result, other arrays only, or shares that move by 0.01."""
        invisible = set() if self.shows_unanalysable else self.unanalysable
        session_id = self._one_of(set(self.sessions) - self.running - invisible)
        if session_id is None:
            return
        self.analyses += 1
        completed = self.now - timedelta(minutes=10) + timedelta(seconds=self.analyses)
        changes = self.dice.choice(("result", "tracks", "shares"))
        try:
            self.ask(f"sessions/{session_id}/reanalyse", {"changes": changes, "completed": completed.isoformat()})
        except OSError:  # nothing in this session can change so
            return
        self.reanalysed.add(session_id)
        self.told.append(f"  reanalyse {session_id} {changes}")

    def send_event(self) -> None:
        """A webhook event about a session, in any version; it may arrive late, twice or never."""
        session_id = self._one_of(self.sessions)
        if session_id is None:
            return
        user_id = self.sessions[session_id]
        order = Order(
            url="",
            session_id=session_id,
            event="INFERENCE_COMPLETE" if session_id in self.running else "SESSION_COMPLETE",
            version=self.dice.choice(("V1", "V2", "V3", "V3")),
        )
        [user] = self.ask(f"truth?user={user_id}")["users"]
        [result] = [each["result"] for each in user["sessions"] if each["row"]["session_id"] == session_id]
        self.late += [(user_id, orjson.dumps(body_of(order, user_id, result)))] * self.dice.choice((1, 1, 2))
        self.told.append(f"  event of {session_id} {order.version}")

    def arriving(self) -> list[tuple[str, bytes]]:
        """Events that arrive now, in any order."""
        self.dice.shuffle(self.late)
        arriving = self.late[: self.dice.randrange(len(self.late) + 1)]
        self.late = self.late[len(arriving) :]
        return arriving

    def delete_user(self) -> None:
        """A user is deleted with everything."""
        if len(self.users) > 2 and (user_id := self._user()):
            self.ask(f"users/{user_id}/delete", {})
            self.users.remove(user_id)
            for session_id in [each for each, owner in self.sessions.items() if owner == user_id]:
                self._forget(session_id)
            self.told.append(f"  delete user {user_id}")

    def faults(self, kinds: Iterable[str]) -> None:
        """From now on one to three faults of these kinds, and no others."""
        chosen = [self._fault(kind) for kind in self.dice.sample(sorted(kinds), self.dice.randrange(1, 4))]
        self.ask("faults", method="DELETE")
        self.ask("faults", chosen)
        cuts = {"empty_list", "all_missing", "missing_user"}
        self.lists_were_cut = any(
            rule["kind"] in cuts or (rule["kind"] == "page_cap" and "count" in rule) for rule in chosen
        )
        self.changes_between_pages = any(rule["kind"].endswith("_between_pages") for rule in chosen)
        self.lists_were_ever_cut = self.lists_were_ever_cut or self.lists_were_cut
        self.damaged = self.damaged or any(rule["kind"] == "damaged_stages" for rule in chosen)
        self.told.append(f"  faults {chosen}")

    def quiet(self) -> None:
        """No faults any more."""
        self.ask("faults", method="DELETE")

    def _fault(self, kind: str) -> dict[str, Any]:
        dice = self.dice
        users = dice.sample(self.users, min(len(self.users), dice.randrange(1, 3)))
        sessions = sorted(self.sessions)
        chosen: dict[str, Any] = {
            "page_cap": {"cap": dice.randrange(1, 101), "after": dice.randrange(3)},
            "changing_page_cap": {
                "cap": dice.randrange(1, 50),
                "after": dice.randrange(4),
                "count": dice.randrange(1, 9),
            },
            "missing_user": {"users": users, "per_user": dice.randrange(1, 4)},
            "missing_session": {"share": 0.1},
            "empty_list": {"count": dice.randrange(1, 4)},
            "all_missing": {"after": dice.randrange(1, 5), "count": dice.randrange(1, 60)},
            "insert_between_pages": {"count": 2},
            "delete_between_pages": {"count": 2},
            "throttle_storm": {"count": 3},
            "damaged_stages": {"share": 0.2, "damage": "wake"},
            "interim": {"share": 0.3, "status": dice.choice((102, 103)), "repeat": dice.randrange(1, 3)},
            "late_body": {"share": 0.1, "status": dice.choice((204, 304)), "delay_seconds": dice.choice((0.0, 0.01))},
            "broken_session": {"session": dice.choice(sessions) if sessions else "none"},
        }.get(kind, {"share": 0.1})
        names = {"changing_page_cap": "page_cap", "broken_session": "not_json"}
        return {"kind": names.get(kind, kind), **chosen}

    def _added(self, user_id: str, made: list[dict[str, Any]]) -> list[str]:
        ids = [str(each["session_id"]) for each in made]
        self.sessions.update(dict.fromkeys(ids, user_id))
        self.told.append(f"  add {len(ids)} sessions to {user_id}")
        return ids

    def _forget(self, session_id: str) -> None:
        del self.sessions[session_id]
        for names in (self.running, self.hidden, self.reanalysed):
            names.discard(session_id)

    def _user(self) -> str | None:
        return self.dice.choice(self.users) if self.users else None

    def _one_of(self, ids: Iterable[str]) -> str | None:
        found = sorted(ids)
        return self.dice.choice(found) if found else None


def let_hours_pass(engine: Engine, hours: float) -> None:
    """Everything that was noted here was noted so many hours earlier."""
    columns = text(
        "SELECT c.table_name, c.column_name FROM information_schema.columns AS c "
        "JOIN information_schema.tables AS t USING (table_schema, table_name) "
        "WHERE c.table_schema = 'asleep' AND t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER' "
        "AND c.data_type = 'timestamp with time zone' AND c.table_name <> 'rate_limits'"
    )
    with engine.begin() as connection:
        for table, column in connection.execute(columns).all():
            if column not in _KEPT:
                change = f"UPDATE asleep.{table} SET {column} = {column} - make_interval(hours => :hours)"
                connection.execute(text(change), {"hours": int(hours)})


def nights_that_differ(engine: Engine) -> list[tuple[str, Assigned, Assigned]]:
    """Sessions whose stored night is another than the rules give for the sessions stored: id, stored, expected."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM asleep.sleep_sessions WHERE deleted_at IS NULL")).all()
    expected = expected_nights(
        Recorded(
            session_id=row.session_id,
            user_id=row.user_id,
            start=row.session_start_time,
            end=row.session_end_time,
            slept=row.slept,
            time_in_sleep=row.time_in_sleep,
            sleep_time=row.sleep_time,
            wake_time=row.wake_time,
            peculiarities=tuple(row.peculiarities or ()),
            to_local=partial(datetime.astimezone, tz=tzinfo_of(row.local_zone)),
        )
        for row in rows
    )
    stored = {row.session_id: Assigned(row.night_date, row.episode_id, row.night_role) for row in rows}
    return [(each, stored[each], expected[each]) for each in stored if stored[each] != expected[each]]
