"""Which session belongs to which night, by the stated rules in plain Python: no SQL and none of our code."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Recorded:
    """What the rules look at."""

    session_id: str
    user_id: str
    start: datetime
    end: datetime | None
    slept: bool
    time_in_sleep: int | None = None
    sleep_time: datetime | None = None
    wake_time: datetime | None = None
    peculiarities: tuple[str, ...] = ()
    to_local: Callable[[datetime], datetime] = lambda moment: moment

    @property
    def doubtful(self) -> bool:
        """Analysed although longer than 24 hours."""
        return "TOO_LONG_FOR_ANALYSIS" in self.peculiarities or (self.end is not None and self.end - self.start > DAY)

    @property
    def awake_at(self) -> datetime:
        """The last awakening."""
        if self.end is not None and self.wake_time is not None and self.start < self.wake_time <= self.end:
            return self.wake_time
        return self.end or self.start

    @property
    def asleep_at(self) -> datetime:
        """Sleep onset, or the start when the recorded onset does not fit."""
        fits = self.sleep_time is not None and self.start <= self.sleep_time < self.awake_at
        return self.sleep_time if fits and self.sleep_time else self.start

    @property
    def own_date(self) -> date:
        """The local date of the last awakening; of a doubtful session, that of the noon after its start."""
        if self.doubtful:
            return (self.to_local(self.start).replace(tzinfo=None) + timedelta(hours=12)).date()
        return self.to_local(self.awake_at).date()


class Assigned(NamedTuple):
    """What is stored of a session's night."""

    night_date: date
    episode_id: str | None
    night_role: str | None


def shared(one: Recorded, other: Recorded) -> timedelta:
    """How long two sleep periods run at the same time."""
    return min(one.awake_at, other.awake_at) - max(one.asleep_at, other.asleep_at)


def episodes_of(sessions: Iterable[Recorded]) -> list[list[Recorded]]:
    """The kept sessions of one user, in episodes."""
    kept: list[Recorded] = []
    candidates = [each for each in sessions if each.slept and not each.doubtful]
    for each in sorted(candidates, key=lambda s: (-(s.time_in_sleep or 0), s.start, s.session_id)):
        if all(shared(each, other) <= timedelta(minutes=15) for other in kept):
            kept.append(each)
    episodes: list[list[Recorded]] = []
    for each in sorted(kept, key=lambda s: (s.asleep_at, s.start, s.session_id)):
        if episodes and each.asleep_at - max(s.awake_at for s in episodes[-1]) < timedelta(minutes=60):
            episodes[-1].append(each)
        else:
            episodes.append([each])
    return episodes


def date_of(episode: Sequence[Recorded]) -> date:
    """The local date of an episode's last awakening."""
    return max(episode, key=lambda s: (s.awake_at, s.start, s.session_id)).own_date


def expected_nights(sessions: Iterable[Recorded]) -> dict[str, Assigned]:
    """The night of each session."""
    everything = list(sessions)
    found = {s.session_id: Assigned(s.own_date, None, role_aside(s)) for s in everything}
    for user_id in {s.user_id for s in everything}:
        longest: dict[date, tuple[tuple[int, datetime, str], str]] = {}
        episodes = episodes_of(s for s in everything if s.user_id == user_id)
        for episode in episodes:
            asleep = sum(s.time_in_sleep or 0 for s in episode)
            rank = (-asleep, episode[0].asleep_at, episode[0].session_id)
            day = date_of(episode)
            if day not in longest or rank < longest[day][0]:
                longest[day] = (rank, episode[0].session_id)
        for episode in episodes:
            day, name = date_of(episode), episode[0].session_id
            role = "main" if longest[day][1] == name else "nap"
            found |= {s.session_id: Assigned(day, name, role) for s in episode}
    return found


def role_aside(session: Recorded) -> str | None:
    """The role of a session that belongs to no episode."""
    if not session.slept:
        return None
    return "doubtful" if session.doubtful else "overlapping"
