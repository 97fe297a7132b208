"""The users and their ordinary nights, the same for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

from simulator.analysis import Recording
from simulator.figures import EPOCH_SECONDS
from simulator.hypnograms import all_nights
from simulator.model import Session, User
from simulator.world import World

ZONES = [
    "Asia/Seoul",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Sydney",
    "America/Los_Angeles",
    "Asia/Tokyo",
    "Europe/London",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Pacific/Auckland",
    "Africa/Nairobi",
    "America/St_Johns",
    "Pacific/Honolulu",
    "Asia/Dubai",
    "Pacific/Kiritimati",
]
UNLISTED_ZONE = "Asia/Beijing"
"""Phones may report a zone that the tz database lacks; people there live by `Asia/Shanghai`."""
SPECIAL_TAGS = [
    "unknown_zone",
    "dst_nights",
    "naps",
    "several_per_day",
    "never_slept",
    "too_short",
    "too_many_defects",
    "too_long",
    "unknown_epochs",
    "open_now",
    "no_realtime_polling",
    "closed_now",
    "open_old",
    "unexpected_end",
    "old_ids",
    "moving_zones",
    "to_be_deleted",
    "missing_tail",
    "breathing",
    "no_metadata",
]
MISSED_NIGHTS = 0.07
FIRST_REGISTRATION = datetime(2024, 3, 1, 9, 15, 2, tzinfo=UTC)
NAP_EPOCHS = 200
"""Shorter recordings begin shortly before a night's first sleep, or most naps would be all awake."""
ANALYSIS_SECONDS = (20, 300)
WHOLE_NIGHT_EPOCHS = 900
"""Length of an invented night unless given."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Size of the population, and whether it has special sessions."""

    users: int = 40
    days: int = 60
    days_ahead: int = 0
    sessions_per_user: int | None = None
    breathing_share: float = 0.15
    special: bool = True


def clock_zone(name: str) -> ZoneInfo:
    """The zone by which people in `name` live."""
    return ZoneInfo("Asia/Shanghai" if name == UNLISTED_ZONE else name)


def new_users(world: World, plan: Plan) -> list[User]:
    """The users with their tags; the last one of a population with special sessions never tracked a night.

    Args:
        world: users, sessions, clock and behaviour.
        plan: what the command line demands.
    """
    users = []
    for index in range(plan.users):
        dice = Random(f"{world.seed} person {index}")
        user_id = world.new_user_id(FIRST_REGISTRATION + index * timedelta(hours=5, minutes=7, seconds=11))
        user = User(user_id, dice.choice(ZONES), metadata=_metadata(dice))
        user.breathing = dice.random() < plan.breathing_share
        world.users[user_id] = user
        users.append(user)
    if plan.special and plan.sessions_per_user is None:
        _assign_special_tags(users)
    return users


def _assign_special_tags(users: list[User]) -> None:
    sleepers = users[:-1] or users
    for place in range(max(len(SPECIAL_TAGS), len(sleepers)) if users else 0):
        if place < 2 * len(SPECIAL_TAGS):
            sleepers[place % len(sleepers)].tags.add(SPECIAL_TAGS[place % len(SPECIAL_TAGS)])
    for user in sleepers:
        user.to_be_deleted = "to_be_deleted" in user.tags
        user.breathing = user.breathing or "breathing" in user.tags
        if "no_metadata" in user.tags:
            user.metadata = None
        if "unknown_zone" in user.tags:
            user.timezone = UNLISTED_ZONE
        elif "dst_nights" in user.tags:
            user.timezone = "America/New_York"
    if len(users) > 1:
        users[-1].tags.add("without_sessions")


def _metadata(dice: Random) -> dict[str, object]:
    return {
        "birth_year": dice.randrange(1950, 2006),
        "birth_month": dice.choice([None, dice.randrange(1, 13)]),
        "birth_day": None,
        "gender": dice.choice(["male", "female", "non_binary", "other", "prefer_not_to_say"]),
        "height": round(dice.uniform(150, 200), 1),
        "weight": dice.choice([None, round(dice.uniform(45, 120), 1)]),
    }


def ordinary_sessions(world: World, user: User, plan: Plan) -> Iterator[Session]:
    """A night on most days, a nap now and then; an exact number of nights when the plan has one.

    What happens on an ordinary date does not depend on when the simulator is started.

    Args:
        world: users, sessions, clock and behaviour.
        user: the user.
        plan: what the command line demands.
    """
    if plan.sessions_per_user is None:
        yield from _natural_sessions(world, user, plan)
    else:
        yield from _counted_sessions(world, user, plan.sessions_per_user, plan.days)


def _natural_sessions(world: World, user: User, plan: Plan) -> Iterator[Session]:
    now = world.clock.now()
    bedtime = Random(f"{world.seed} bedtime {user.user_id}").gauss(23 * 60, 50)
    nap_share = 0.5 if "naps" in user.tags else 0.04
    for ago in range(plan.days, -plan.days_ahead - 1, -1):
        day = now.astimezone(clock_zone(user.timezone)).date() - timedelta(days=ago)
        zone = zone_of_day(user, day)
        dice = Random(f"{world.seed} {user.user_id} {day}")
        starts: list[tuple[float, int | None]]
        starts = [(dice.gauss(bedtime, 35), None)] if dice.random() >= MISSED_NIGHTS else []
        if dice.random() < nap_share:
            starts.append((dice.gauss(14 * 60, 40), dice.randrange(40, 181)))
        for minute, epochs in starts:
            start = local_moment(day, minute, zone)
            session = night(world, user, start, dice, epochs=epochs)
            session.zone = zone
            session.tags = ("nap",) if epochs else ()
            if plan.days_ahead or (session.completed and session.completed <= now):
                yield session


def _counted_sessions(world: World, user: User, count: int, days: int) -> Iterator[Session]:
    dice = Random(f"{world.seed} counted {user.user_id}")
    per_day = max(1, -(-count // max(days, 1)))
    slot = timedelta(days=1) / per_day
    longest = int(slot.total_seconds() * 0.9) // EPOCH_SECONDS
    today = world.clock.now().astimezone(clock_zone(user.timezone)).date()
    latest = local_moment(today - timedelta(days=2), 22 * 60, user.timezone)
    for place in range(count):
        start = latest - place * slot + timedelta(seconds=dice.randrange(int(slot.total_seconds() / 20)))
        session = night(world, user, start, dice)
        if session.end and (session.end - session.start).total_seconds() > longest * EPOCH_SECONDS:
            session = night(world, user, start, dice, epochs=longest)
        yield session


def zone_of_day(user: User, day: date) -> str:
    """Where the user is that day; some move every ten days.

    Args:
        user: the user.
        day: calendar date.
    """
    if "moving_zones" not in user.tags:
        return user.timezone
    home = ZONES.index(user.timezone) if user.timezone in ZONES else 0
    return ZONES[(home + day.toordinal() // 10) % len(ZONES)]


def local_moment(day: date, minute: float, zone: str) -> datetime:
    """`minute` minutes of wall-clock time after midnight of `day` in `zone`, as UTC.

    Args:
        day: calendar date.
        minute: minutes after local midnight.
        zone: time zone of the timestamps.
    """
    wall = datetime.combine(day, time()) + timedelta(seconds=round(minute * 60))
    return wall.replace(tzinfo=clock_zone(zone)).astimezone(UTC)


def night(  # noqa: PLR0913 (each is a property of the night)
    world: World, user: User, start: datetime, dice: Random, *, source: str | None = None, epochs: int | None = None
) -> Session:
    """A finished session that plays a night (a random one unless named) from its first epoch on.

    Args:
        world: users, sessions, clock and behaviour.
        user: the user.
        start: start of the session.
        dice: source of randomness.
        source: id of the night, or several joined with `+`.
        epochs: length in 30 s.
    """
    nights = all_nights()
    source = source or dice.choice(list(nights))
    count = epochs or (len(nights[source].stages) if source in nights else WHOLE_NIGHT_EPOCHS)
    first = 0
    if epochs and epochs < NAP_EPOCHS and source in nights:
        first = max(0, len(nights[source].stages) - len(nights[source].stages.lstrip("0x")) - dice.randrange(30))
    end = start + timedelta(seconds=count * EPOCH_SECONDS + dice.randrange(EPOCH_SECONDS))
    return Session(
        session_id=world.new_session_id(user.user_id, start),
        user_id=user.user_id,
        start=start,
        end=end,
        completed=end + timedelta(seconds=dice.randrange(*ANALYSIS_SECONDS)),
        zone=user.timezone,
        recording=Recording(source, first, count, dice.randrange(4), rescored=False, breathing=user.breathing),
    )
