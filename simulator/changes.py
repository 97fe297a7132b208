"""Everything that can happen to the world after it was made, and a journal of it.

Each kind of change is one method, whose arguments JSON can carry.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson

from simulator.analysis import Recording, analysis_of
from simulator.figures import EPOCH_SECONDS, ONE_SECOND
from simulator.hypnograms import is_source
from simulator.messages import ApiError
from simulator.model import Session, User
from simulator.population import night
from simulator.world import Clock, World, moment_of

Json = dict[str, Any]
MAX_SESSION = timedelta(days=1)
"""The service ends what is still open after a day."""


REANALYSES: dict[str, Callable[[Recording], Recording]] = {
    "result": lambda recording: replace(recording, rescored=not recording.rescored),
    "tracks": lambda recording: replace(recording, edition=recording.edition + 1),
    "shares": lambda recording: replace(recording, moved_share=not recording.moved_share),
}


class Changes:
    """Applies changes to the world; with a journal they can be replayed on the same world later."""

    def __init__(self, world: World, journal: Path | None = None) -> None:
        self.world = world
        self._journal = journal

    def apply(self, change: str, **arguments: Any) -> Json:
        """Carry out one change and write it down."""
        answer = self._carry_out(change, arguments)
        if self._journal:
            with self._journal.open("ab") as lines:
                entry = {"at": self.world.clock.now().isoformat(), "change": change, "arguments": arguments}
                lines.write(orjson.dumps(entry) + b"\n")
        return answer

    def replay(self, lines: list[bytes]) -> None:
        """Carry out the changes of a journal, each as of its own time, without writing them again."""
        for line in lines:
            entry = orjson.loads(line)
            clock = self.world.clock
            if entry["change"] != "clock":
                self.world.clock = Clock(moment_of(entry["at"]))
            self._carry_out(entry["change"], entry["arguments"])
            self.world.clock = clock

    def _carry_out(self, change: str, arguments: Json) -> Json:
        try:
            answer: Json = getattr(self, f"_{change}")(**arguments)
        except (TypeError, ValueError, KeyError) as error:
            raise ApiError(422, f"{change}: {error}") from error
        return answer

    def _add_session(self, user_id: str, start: str, state: str = "COMPLETE", **wishes: Any) -> Json:
        user = self._user(user_id)
        begin = moment_of(start)
        if not is_source(str(wishes.get("night_id") or "wake")):
            raise ValueError(f"no such night: {wishes['night_id']}")
        dice = Random(f"{self.world.seed} added {user_id} {begin}")
        session = night(
            self.world, user, begin, dice, source=wishes.pop("night_id", None), epochs=wishes.pop("epochs", None)
        )
        session.zone = wishes.pop("zone", session.zone)
        session.finding = wishes.pop("finding", None)
        session.missing_epochs = int(wishes.pop("missing_epochs", 0))
        session.listed = bool(wishes.pop("listed", True))
        session.session_id = wishes.pop("session_id", session.session_id)
        session.tags = ("added",)
        if "end" in wishes:
            session.end = moment_of(wishes.pop("end"))
            session.completed = session.end + timedelta(seconds=60)
        if "completed" in wishes:
            session.completed = moment_of(wishes.pop("completed"))
        if wishes or state not in ("OPEN", "CLOSED", "COMPLETE") or session.session_id in self.world.sessions:
            raise ValueError(f"unknown field, unknown state or session id in use: {sorted(wishes)}")
        if state != "COMPLETE":
            session.completed = None
        if state == "OPEN" and session.end:
            passed = (self.world.clock.now() - begin) // ONE_SECOND // EPOCH_SECONDS
            session.received_epochs = max(0, min((session.end - begin) // ONE_SECOND // EPOCH_SECONDS, passed))
            session.end = None
        self.world.put(session)
        return {"session_id": session.session_id}

    def _delete_session(self, session_id: str) -> Json:
        self.world.remove(self._session(session_id))
        return {"session_id": session_id}

    def _listed(self, session_id: str, *, listed: bool) -> Json:
        """Whether lists contain the session from now on."""
        self._session(session_id).listed = listed
        self.world.version += 1
        return {"session_id": session_id, "listed": listed}

    def _reanalyse(self, session_id: str, completed: str | None = None, changes: str = "result") -> Json:
        """Score the session anew: same id, same times, other result.

        Args:
            session_id: a session.
            completed: when the analysis was completed; now unless given.
            changes: `result` scores by the night's other scorer; `tracks` changes stages and snoring and leaves
                every statistic alone; `shares` moves two ratios by 0.01 and leaves the tracks alone.

        Raises:
            ValueError: this session has nothing that can change so, or `completed` lies in the future.
        """
        session = self._session(session_id)
        now = self.world.clock.now()
        if completed and moment_of(completed) > now:
            raise ValueError(f"completed later than now ({now.isoformat()}): the session would be CLOSED until then")
        recording = REANALYSES[changes](session.recording)
        if changes != "result" and analysis_of(recording) == analysis_of(session.recording):
            raise ValueError(f"nothing in this session can change so: {changes}")
        session.recording = recording
        session.completed = moment_of(completed) if completed else now
        self.world.forget_renderings(session)
        return {"session_id": session_id, "completed_time": session.completed.isoformat()}

    def _close(self, session_id: str, end: str | None = None, *, unexpected: bool = False) -> Json:
        """End a running session; unless said when, after the last slot that arrived."""
        session = self._session(session_id)
        now = self.world.clock.now()
        if session.state(now) == "OPEN":
            heard = timedelta(seconds=session.received(now) * EPOCH_SECONDS + 9)
            session.end = moment_of(end) if end else min(now, session.start + min(heard, MAX_SESSION))
            session.completed = None
            slots = (session.end - session.start) // ONE_SECOND // EPOCH_SECONDS
            session.missing_epochs = max(0, slots - session.received_epochs) if session.received_epochs else 0
        if unexpected:
            session.unexpected_end = session.end
        self.world.forget_renderings(session)
        return {"session_id": session_id, "end_time": session.end.isoformat() if session.end else None}

    def _complete(self, session_id: str, completed: str | None = None, finding: str | None = None) -> Json:
        """Finish the analysis of a session, which is closed first if it still runs."""
        session = self._session(session_id)
        if session.state(self.world.clock.now()) == "OPEN":
            self._close(session_id)
        session.completed = moment_of(completed) if completed else self.world.clock.now()
        session.finding = finding or session.finding
        self.world.forget_renderings(session)
        return {"session_id": session_id, "completed_time": session.completed.isoformat()}

    def _create_user(self, metadata: Json | None = None, timezone: str = "UTC", user_id: str | None = None) -> Json:
        user_id = user_id or self.world.new_user_id(self.world.clock.now())
        self.world.users[user_id] = User(user_id, timezone, metadata=metadata or {}, tags={"added"})
        self.world.version += 1
        return {"user_id": user_id}

    def _delete_user(self, user_id: str) -> Json:
        user = self._user(user_id)
        for session in list(user.sessions):
            self.world.remove(session)
        user.deleted = True
        return {"user_id": user_id}

    def _to_be_deleted(self, user_id: str, *, to_be_deleted: bool = True) -> Json:
        self._user(user_id).to_be_deleted = to_be_deleted
        return {"user_id": user_id, "to_be_deleted": to_be_deleted}

    def _clock(self, now: str | None = None, advance_seconds: float = 0, *, real: bool = False) -> Json:
        clock = self.world.clock
        if real:
            clock.run()
        if now:
            clock.stop_at(moment_of(now))
        clock.advance(advance_seconds)
        self.world.forget_renderings()
        return {"now": clock.now().isoformat()}

    def _user(self, user_id: str) -> User:
        user = self.world.user(user_id)
        if user is None:
            raise ApiError(404, "user does not exist")
        return user

    def _session(self, session_id: str) -> Session:
        session = self.world.sessions.get(session_id)
        if session is None:
            raise ApiError(404, "session does not exist")
        return session
