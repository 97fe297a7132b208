"""Which session belongs to which night: assigned anew, in the writer's transaction, where sessions changed.

Doubtful sessions are set aside. Among the other slept sessions, from most to least sleep, one that shares more than 15
minutes of its sleep period with one already kept is overlapping. Kept sessions less than 60 minutes apart form an
episode; its date is the local date of its last awakening. The longest episode of a user's date is the main sleep, and
others are naps.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, Date, Row, case, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import stale_months, stale_periods
from resources.database.schema.tables import sleep_sessions
from resources.load_sql import any_of, as_table, load_sql

MAX_OVERLAP = timedelta(minutes=15)
BETWEEN_EPISODES = timedelta(minutes=60)

_S = sleep_sessions.c
_STORED = (_S.night_date, _S.episode_id, _S.episode_sessions, _S.night_role)
_OWN_DATE = cast(case((_S.doubtful, _S.session_start_local + timedelta(hours=12)), else_=_S.asleep_until_local), Date)
_SESSION = select(
    *(_S.user_id, _S.session_id, _S.session_start_time, _S.asleep_from, _S.asleep_until, _S.time_in_sleep, _S.slept),
    *(_S.doubtful, _OWN_DATE.label("own_date"), *_STORED),
)
_WITHOUT_NIGHTS = text(
    "SELECT DISTINCT user_id FROM asleep.sleep_sessions WHERE slept AND night_role IS NULL ORDER BY user_id LIMIT :most"
)
Session = Row[Any]
UserDates = set[tuple[str, date]]


class ChangedSession(NamedTuple):
    """A session that was written, and whose it was and where it lay in time before; nothing more of a new one."""

    session_id: str
    former_user: str | None = None
    first: datetime | None = None
    last: datetime | None = None


class _Night(NamedTuple):
    night_date: date
    episode_id: str | None = None
    episode_sessions: int | None = None
    night_role: str | None = None


class _Episode(NamedTuple):
    night_date: date
    episode_id: str
    sessions: list[Session]


def assign_nights(connection: Connection, changed: Sequence[ChangedSession]) -> int:
    """Assign the changed sessions and their neighbours to nights, and mark the months of all of them stale.

    The caller holds the users (`Registry.hold`), so that of two transactions the later one finds the sessions of the
    other one. Only a user's sessions that lie around the changed ones are read, and the episodes that share a date with
    one of those.

    Args:
        connection: in the transaction that changed the sessions.
        changed: every session that was inserted, updated, or marked deleted.

    Returns:
        How many sessions belong to another night, or play another role in it, than stored before.
    """
    if not changed:
        return 0
    around, touched = _read_around(connection, {each.session_id: each for each in changed})
    episodes = list(_episodes(around.values()))
    dates = {(each.user_id, each.night_date) for each in around.values() if each.episode_id is not None}
    dates |= {(each.sessions[0].user_id, each.night_date) for each in episodes}
    beside = [each for each in _stored_in_episodes(connection, dates) if each.session_id not in around]
    for (night_date, episode_id), of_episode in groupby(beside, lambda each: (each.night_date, each.episode_id)):
        episodes.append(_Episode(night_date, episode_id, list(of_episode)))
    nights = {each.session_id: _Night(each.own_date, night_role=_role_beside_nights(each)) for each in around.values()}
    nights |= _nights(episodes)
    moved = [each for each in (*around.values(), *beside) if nights[each.session_id] != tuple(each[-len(_STORED) :])]
    touched |= {(each.user_id, day) for each in moved for day in (each.night_date, nights[each.session_id].night_date)}
    touched |= _first_dates(connection, touched, [each.session_id for each in changed])
    if moved:
        given = as_table((_S.session_id, *_STORED), [(each.session_id, *nights[each.session_id]) for each in moved]).c
        values = {column.name: given[column.name] for column in _STORED} | {"updated_at": func.now()}
        connection.execute(update(sleep_sessions).where(_S.session_id == given.session_id).values(values))
    _mark_stale(connection, touched)
    return len(moved)


def _read_around(connection: Connection, changed: dict[str, ChangedSession]) -> tuple[dict[str, Session], UserDates]:
    """Sessions by id: the changed ones and all that a chain connects with them. And the dates of the changed ones."""
    spans: dict[str, list[datetime]] = defaultdict(list)
    touched: UserDates = set()
    query = select(_S.session_id, _S.user_id, _S.night_date, _S.session_start_time, _S.session_end_time)
    for session_id, user_id, night_date, start, end in connection.execute(query.where(any_of(_S.session_id, changed))):
        former = changed[session_id]
        for user in {user_id, former.former_user or user_id}:
            touched.add((user, night_date))
            spans[user] += [each for each in (start, end, former.first, former.last) if each is not None]
    if not spans:
        return {}, touched
    values = {
        "user_ids": list(spans),
        "firsts": [min(moments) for moments in spans.values()],
        "lasts": [max(moments) for moments in spans.values()],
    }
    bounds = connection.execute(load_sql(__package__, "bounds"), values).all()
    given = as_table((_S.user_id, _S.session_start_time, _S.session_end_time), bounds).c
    is_inside = _S.session_start_time.between(given.session_start_time, given.session_end_time)
    found = connection.execute(_SESSION.where(_S.user_id == given.user_id, is_inside))
    return {each.session_id: each for each in found}, touched


def _stored_in_episodes(connection: Connection, dates: UserDates) -> list[Session]:
    """The sessions of the episodes of these dates, in order."""
    if not dates:
        return []
    given = as_table((_S.user_id, _S.night_date), list(dates)).c
    query = _SESSION.where(_S.user_id == given.user_id, _S.night_date == given.night_date, _S.episode_id.is_not(None))
    return list(connection.execute(query.order_by(_S.night_date, _S.episode_id)))


def _episodes(sessions: Iterable[Session]) -> Iterator[_Episode]:
    asleep = sorted((each for each in sessions if each.slept and not each.doubtful), key=lambda each: each.user_id)
    for _, theirs in groupby(asleep, lambda each: each.user_id):
        kept = [each for chain in _chains(theirs, -MAX_OVERLAP) for each in _without_overlapping(chain)]
        for chain in _chains(kept, BETWEEN_EPISODES):
            last = max(chain, key=lambda each: (each.asleep_until, each.session_start_time, each.session_id))
            yield _Episode(last.own_date, chain[0].session_id, chain)


def _chains(sessions: Iterable[Session], gap: timedelta) -> Iterator[list[Session]]:
    """A user's sessions in order, parted where one falls asleep at least `gap` after the end of all before it."""
    chain: list[Session] = []
    until = None
    for each in sorted(sessions, key=lambda each: (each.asleep_from, each.session_start_time, each.session_id)):
        if until is not None and each.asleep_from >= until + gap:
            yield chain
            chain = []
        chain.append(each)
        until = each.asleep_until if until is None else max(until, each.asleep_until)
    if chain:
        yield chain


def _without_overlapping(sessions: Iterable[Session]) -> list[Session]:
    kept: list[Session] = []
    for each in sorted(sessions, key=lambda each: (-each.time_in_sleep, each.session_start_time, each.session_id)):
        shared = (min(one.asleep_until, each.asleep_until) - max(one.asleep_from, each.asleep_from) for one in kept)
        if all(overlap <= MAX_OVERLAP for overlap in shared):
            kept.append(each)
    return kept


def _nights(episodes: Iterable[_Episode]) -> dict[str, _Night]:
    """The night of each session of the episodes, which are all of their dates."""
    nights: dict[str, _Night] = {}
    of_dates: dict[tuple[str, date], list[_Episode]] = defaultdict(list)
    for episode in episodes:
        of_dates[episode.sessions[0].user_id, episode.night_date].append(episode)
    for of_date in of_dates.values():
        longest = min(of_date, key=_from_the_longest)
        for episode in of_date:
            role = "main" if episode is longest else "nap"
            night = _Night(episode.night_date, episode.episode_id, len(episode.sessions), role)
            nights |= dict.fromkeys((each.session_id for each in episode.sessions), night)
    return nights


def _from_the_longest(episode: _Episode) -> tuple[int, datetime, str]:
    asleep = sum(each.time_in_sleep for each in episode.sessions)
    return -asleep, min(each.asleep_from for each in episode.sessions), episode.episode_id


def _role_beside_nights(session: Session) -> str | None:
    if not session.slept:
        return None
    return "doubtful" if session.doubtful else "overlapping"


def _first_dates(connection: Connection, touched: UserDates, changed: list[str]) -> UserDates:
    """Where users' calendars began without the changed sessions: when that moves, so do the counts where it lay."""
    earliest: dict[str, date] = {}
    for user_id, day in touched:
        earliest[user_id] = min(day, earliest.get(user_id, day))
    if not earliest:
        return set()
    given = as_table((_S.user_id, _S.night_date), list(earliest.items())).c
    is_other = (_S.user_id == given.user_id) & _S.deleted_at.is_(None) & ~any_of(_S.session_id, changed)
    first = select(func.min(_S.night_date)).where(is_other).scalar_subquery()
    found = connection.execute(select(given.user_id, first))
    return {(user_id, day) for user_id, day in found if day is not None and day > earliest[user_id]}


def _mark_stale(connection: Connection, dates: UserDates) -> None:
    """A session may reach into the days, noon to noon, before and after its date; regularity looks back a week."""
    months = {(user_id, day.replace(day=1)) for user_id, day in dates}
    periods = {
        (user_id, period, near.replace(day=1) if period == "month" else near - timedelta(days=near.weekday()))
        for user_id, day in dates
        for period, days in (("month", (-1, 1)), ("week", (-1, 1, 8)))
        for near in (day + timedelta(days=distance) for distance in days)
    }
    for table, rows, version in (
        (stale_months, months, stale_months.c.version + 1),
        (stale_periods, periods, insert(stale_periods).excluded.version),
    ):
        names = [column.name for column in table.primary_key]
        if rows:
            statement = insert(table).on_conflict_do_update(index_elements=names, set_={"version": version})
            connection.execute(statement, [dict(zip(names, row, strict=True)) for row in sorted(rows)])


def users_without_nights(connection: Connection, most: int | None = None) -> list[str]:
    """Users with slept sessions that no writer has assigned to a night: stored before there were nights.

    Args:
        connection: to read with.
        most: at most this many users; None for all.
    """
    return list(connection.scalars(_WITHOUT_NIGHTS, {"most": most}))


def assign_all_nights(connection: Connection, user_ids: Sequence[str]) -> None:
    """Assign every session of some users.

    Args:
        connection: in a transaction that holds the users (`Registry.hold`).
        user_ids: the users.
    """
    session_ids = connection.scalars(select(_S.session_id).where(any_of(_S.user_id, user_ids)))
    assign_nights(connection, [ChangedSession(session_id) for session_id in session_ids])
