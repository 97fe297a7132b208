"""The unusual sessions that real users have, each under a tag so that a test can find it, and the whole population."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from simulator.figures import EPOCH_SECONDS
from simulator.hypnograms import all_nights
from simulator.model import NEVER_SLEPT, NO_POLLING_TAG, TOO_LONG, TOO_MANY_DEFECTS, TOO_SHORT, Session, User
from simulator.population import Plan, clock_zone, local_moment, new_users, night, ordinary_sessions
from simulator.world import World

CRASHED_NIGHTS = 0.3
Maker = Callable[[World, User, Random], Iterator[Session]]


def populate(world: World, plan: Plan) -> None:
    """Fill the world: first each user's special sessions, then ordinary ones where there is room.

    Args:
        world: users, sessions, clock and behaviour.
        plan: what the command line demands.
    """
    for user in new_users(world, plan):
        if "without_sessions" in user.tags:
            continue
        placed = list(_special_sessions(world, user))
        for session in placed:
            world.put(session)
        for session in ordinary_sessions(world, user, plan):
            if plan.sessions_per_user is None and any(_overlap(session, other) for other in placed[-40:]):
                continue
            _add_special_traits(world, user, session)
            placed.append(session)
            world.put(session)


def _overlap(one: Session, other: Session) -> bool:
    return (other.end is None or one.start < other.end) and (one.end is None or other.start < one.end)


def _special_sessions(world: World, user: User) -> Iterator[Session]:
    for tag, make in MAKERS.items():
        if tag in user.tags:
            dice = Random(f"{world.seed} {tag} {user.user_id}")
            for session in make(world, user, dice):
                session.tags = (*session.tags, tag)
                yield session


def _add_special_traits(world: World, user: User, session: Session) -> None:
    """What some users' ordinary nights have in common."""
    dice = Random(f"{world.seed} odd {session.session_id}")
    nights = all_nights()
    if "old_ids" in user.tags:
        while (old := world.new_session_id(user.user_id, session.start, old_form=True)) in world.sessions:
            session.start += timedelta(seconds=1)
        session.session_id = old
        session.recording = replace(session.recording, decimals=3)
        session.tags = (*session.tags, "old_ids")
    if "unknown_epochs" in user.tags:
        source = dice.choice([name for name, each in nights.items() if "x" in each.stages])
        session.recording = replace(session.recording, source=source)
        session.tags = (*session.tags, "unknown_epochs")
    if "missing_tail" in user.tags:
        session.missing_epochs = dice.randrange(1, 31)
        session.tags = (*session.tags, "missing_tail")
    if "moving_zones" in user.tags:
        session.tags = (*session.tags, "moving_zones")
    if "unexpected_end" in user.tags and dice.random() < CRASHED_NIGHTS:
        session.unexpected_end = session.end
        session.tags = (*session.tags, "unexpected_end")


def _evening(world: World, user: User, ago: int, minute: float = 22 * 60) -> datetime:
    today = world.clock.now().astimezone(clock_zone(user.timezone)).date()
    return local_moment(today - timedelta(days=ago), minute, user.timezone)


def _never_slept(world: World, user: User, dice: Random) -> Iterator[Session]:
    for ago in (3, 17, 31):
        session = night(world, user, _evening(world, user, ago), dice, epochs=dice.randrange(80, 400))
        session.recording = replace(session.recording, source="wake")
        session.finding = NEVER_SLEPT
        yield session


def _too_short(world: World, user: User, dice: Random) -> Iterator[Session]:
    for ago in (2, 12):
        session = night(world, user, _evening(world, user, ago, 18 * 60), dice, epochs=dice.randrange(1, 9))
        session.finding = TOO_SHORT
        yield session


def _too_many_defects(world: World, user: User, dice: Random) -> Iterator[Session]:
    for ago in (4, 21):
        session = night(world, user, _evening(world, user, ago), dice, epochs=700)
        session.recording = replace(session.recording, source="defects")
        session.finding = TOO_MANY_DEFECTS
        yield session


def _too_long(world: World, user: User, dice: Random) -> Iterator[Session]:
    epochs = (25 * 3600 + 600) // EPOCH_SECONDS
    session = night(world, user, _evening(world, user, 6), dice, epochs=epochs)
    sources = "+".join(dice.sample(list(all_nights()), 5))
    session.recording = replace(session.recording, source=sources)
    session.finding = TOO_LONG
    yield session


def _open_now(world: World, user: User, dice: Random) -> Iterator[Session]:
    session = night(world, user, world.clock.now() - timedelta(hours=3), dice)
    session.end = session.completed = None
    session.received_epochs = 353
    yield session


def _no_polling(world: World, user: User, dice: Random) -> Iterator[Session]:
    session = night(world, user, world.clock.now() - timedelta(hours=2), dice)
    session.end = session.completed = None
    session.received_epochs = 231
    yield session


def _closed_now(world: World, user: User, dice: Random) -> Iterator[Session]:
    session = night(world, user, world.clock.now() - timedelta(hours=7, minutes=2), dice, epochs=840)
    session.end = session.start + timedelta(hours=7, seconds=13)
    session.completed = None
    yield session


def _open_old(world: World, user: User, dice: Random) -> Iterator[Session]:
    session = night(world, user, world.clock.now() - timedelta(days=200), dice)
    session.end = session.completed = None
    session.received_epochs = 512
    yield session


def _several_per_day(world: World, user: User, dice: Random) -> Iterator[Session]:
    for ago in (1, 5, 9, 30):
        for hour in (9, 13, 17):
            minute = hour * 60 + dice.randrange(30)
            yield night(world, user, _evening(world, user, ago, minute), dice, epochs=dice.randrange(40, 200))


def _dst_nights(world: World, user: User, dice: Random) -> Iterator[Session]:
    """Nights across the last two changes of the clocks, however long ago."""
    zone = clock_zone(user.timezone)
    found = 0
    for ago in range(2, 400):
        evening = _evening(world, user, ago, 23 * 60)
        morning = evening + timedelta(hours=12)
        if evening.astimezone(zone).utcoffset() != morning.astimezone(zone).utcoffset():
            yield night(world, user, evening, dice, source="dodh-001")
            found += 1
        if found == 2:  # noqa: PLR2004 (one in spring, one in autumn)
            return


def _unexpected_end(world: World, user: User, dice: Random) -> Iterator[Session]:
    """Crashed after five hours, closed by the service a day after its start, analysed then."""
    session = night(world, user, _evening(world, user, 8), dice)
    session.end = session.unexpected_end = session.start + timedelta(hours=5, seconds=4)
    session.completed = session.start + timedelta(days=1, minutes=3)
    yield session


MAKERS: dict[str, Maker] = {
    "never_slept": _never_slept,
    "too_short": _too_short,
    "too_many_defects": _too_many_defects,
    "too_long": _too_long,
    "open_now": _open_now,
    NO_POLLING_TAG: _no_polling,
    "closed_now": _closed_now,
    "open_old": _open_old,
    "several_per_day": _several_per_day,
    "dst_nights": _dst_nights,
    "unexpected_end": _unexpected_end,
}
