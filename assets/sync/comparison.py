"""Compares stored statistics and averages with the API's own: how far two figures may lie apart, and why.

What the API leaves out is not compared. A figure that it gives and the tables lack is a difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, tzinfo
from enum import StrEnum
from math import atan2, cos, hypot, pi, sin
from typing import NamedTuple

from resources.asleep.records import AverageStats, SleepSession, Stat
from resources.database.schema.session_columns import MEANS, RATIOS
from resources.local_time import local_zone

DAY_SECONDS = 24 * 3600
EPOCH_SECONDS = 30
_UNKNOWN_STAGE = -1
_TOGETHER = 0.9
"""From 0 (opposite clock times) to 1 (the same one). Those that lie less close together have several means, hours
apart: which one the API takes is not known."""
_SAME_ROUNDING = 1e-6
_NOISE = 1e-9  # decimal fractions are not exact in binary: a difference of just the tolerance must not count

MIN_USERS_OF_CHANGE, SHARE_OF_CHANGE = 10, 0.9
"""So many users, and this share of them, must fit another formula only before it counts as the account's."""

_FORCED_SHARES = ("sleep_ratio", "wake_ratio", "light_ratio", "deep_ratio", "rem_ratio")
_OTHER_SHARES = (
    "sleep_efficiency", "snoring_ratio", "no_snoring_ratio", "stable_breath_ratio", "unstable_breath_ratio",
)  # fmt: skip

SESSION_TOLERANCES: dict[str, float] = {
    # One result in two calls. Two decimals in one and three in the other (older results carry three) lie half of
    # the last decimal apart.
    **dict.fromkeys(_OTHER_SHARES, 0.005),
    # Four shares, each rounded by up to 0.005, are then forced to add up to 1 in steps of 0.01: at most two steps
    # on one of them, mostly light. Where one call shows the raw share, the other may be 0.005 + 0.02 off.
    **dict.fromkeys(_FORCED_SHARES, 0.025),
    # Its rounding is not documented; one decimal is customary for events an hour.
    "breathing_index": 0.05,
    # A mean of whole seconds: cut in one call, rounded in the other.
    "sleep_cycle": 1.0,
}
"""Fields not named here are whole seconds, counts, moments and words of one stored result: they must be equal."""

AVERAGE_TOLERANCES: dict[str, float] = {
    # Durations and counts "may be fractional", and are whole in the documented example: rounded or cut to whole ones.
    **{name: 1.0 for name, _ in MEANS},
    # Three decimals in every payload seen, made from exact sums or from the whole averages above: half of the last
    # decimal, and a second or two in ten minutes of sleep.
    **dict.fromkeys(_OTHER_SHARES, 0.0025),
    # If they are forced to add up to 1 like those of a session, in steps of their last decimal: two steps more.
    **dict.fromkeys(_FORCED_SHARES, 0.0045),
    # Which mean the API takes is not known, so this only finds figures of another zone, of noon for midnight, or of
    # other nights: half an hour, round the clock, where the times lie close together.
    **dict.fromkeys(("start_time", "end_time", "sleep_time", "wake_time"), 1800.0),
}


class AveragingFormula(StrEnum):
    """How the API averages ratios: the contract leaves it open."""

    OF_SUMS = "ratio_of_sums"
    OF_NIGHTS = "mean_of_nights"


class Averages(NamedTuple):
    """What comes of comparing averages."""

    differing: list[str]  # fields; the values are health data, which stay out of logs and messages
    formula: AveragingFormula | None  # the only formula by which the ratios agree; None when both do, or neither


def statistics_that_differ(ours: Stat, theirs: Stat) -> list[str]:
    """Names of the fields in which two statistics of one session differ by more than rounding.

    Args:
        ours: as stored.
        theirs: as average-stats give them; fields that are None are not compared.
    """
    tolerances = SESSION_TOLERANCES
    if _has_two_decimals(ours) and _has_two_decimals(theirs):  # a share that moved by 0.01 was computed again
        tolerances = tolerances | dict.fromkeys((*_FORCED_SHARES, *_OTHER_SHARES), _SAME_ROUNDING)
    return [
        name
        for name, mine, reported in zip(Stat._fields, ours, theirs, strict=True)
        if reported is not None and not _agree(mine, reported, tolerances.get(name, 0.0))
    ]


def _has_two_decimals(stat: Stat) -> bool:
    shares = [getattr(stat, name) for name in (*_FORCED_SHARES, *_OTHER_SHARES)]
    return all(share is None or abs(share * 100 - round(share * 100)) < _SAME_ROUNDING for share in shares)


def stages_contradict(session: SleepSession) -> bool:
    """Whether the stage array and the statistics of one response contradict each other: the array is damaged.

    Only where no epoch is unknown and the array reaches the last sleep epoch; else the two need not agree.
    """
    stages, stat = session.sleep_stages, session.stat
    if not stages or stat is None or stat.sleep_latency is None or stat.time_in_sleep_period is None:
        return False
    if len(stages) * EPOCH_SECONDS < stat.sleep_latency + stat.time_in_sleep_period:
        return False
    try:
        inside = bytes(stages).strip(b"\0")  # from the first sleep epoch to the last one
    except ValueError:  # a number that no stage has
        return _UNKNOWN_STAGE not in stages
    counted = (
        (inside.count(0), stat.time_in_wake),
        (inside.count(1), stat.time_in_light),
        (inside.count(2), stat.time_in_deep),
        (inside.count(3), stat.time_in_rem),
    )
    return any(reported is not None and epochs * EPOCH_SECONDS != reported for epochs, reported in counted)


def averages_that_differ(
    ours: Sequence[Stat], theirs: AverageStats, formula: AveragingFormula | None = None
) -> Averages:
    """The averages of a period that contradict those of our statistics of the same slept sessions.

    Args:
        ours: our statistics of the sessions in `theirs.slept`, in the same order.
        theirs: the API's averages and the sessions behind them.
        formula: how the API averages ratios; None when not known: ratios then differ when neither formula fits.
    """
    if not ours or theirs.averages is None:
        return Averages([], None)
    moments: dict[str, list[datetime | None]] = {
        "start_time": [session.session_start_time for session in theirs.slept],
        "end_time": [session.session_end_time for session in theirs.slept],
        "sleep_time": [stat.sleep_time for stat in ours],
        "wake_time": [stat.wake_time for stat in ours],
    }
    named = local_zone(theirs.timezone)
    zone = named.tzinfo if named else UTC
    means = {name: _mean(getattr(stat, name) for stat in ours) for name, _ in MEANS}
    clocks = {name: _circular_mean(at, zone) for name, at in moments.items()}
    others = differing_averages({**means, **clocks}, theirs)
    known = [
        (name, over, under)
        for name, over, under in RATIOS  # averages do not share one denominator: which one is the API's is not known
        if all((getattr(stat, over) is None) == (getattr(stat, under) is None) for stat in ours)
    ]
    of_sums = differing_averages({name: _ratio_of_sums(ours, over, under) for name, over, under in known}, theirs)
    of_nights = _mean_ratios_that_differ(ours, theirs, known)
    if formula is None:
        ratios = of_sums if of_nights else []
    else:
        ratios = of_sums if formula is AveragingFormula.OF_SUMS else of_nights
    fitting = AveragingFormula.OF_NIGHTS if of_sums else AveragingFormula.OF_SUMS
    return Averages([*others, *ratios], None if bool(of_sums) == bool(of_nights) else fitting)


def formula_of_account(known: AveragingFormula | None, fits: Mapping[AveragingFormula, int]) -> AveragingFormula | None:
    """The one formula that the API follows: the one known before, else the one that fits most users.

    The known formula is replaced when `SHARE_OF_CHANGE` of at least `MIN_USERS_OF_CHANGE` users contradict it.

    Args:
        known: the formula known before; None when there is none.
        fits: for each formula, the number of users for whom it is the only one that fits.
    """
    users = sum(fits.values())
    if not users:
        return known
    best = max(fits, key=lambda formula: fits[formula])
    has_changed = users >= MIN_USERS_OF_CHANGE and fits[best] >= SHARE_OF_CHANGE * users
    return best if known is None or has_changed else known


def _mean_ratios_that_differ(
    ours: Sequence[Stat], theirs: AverageStats, known: Sequence[tuple[str, str, str]]
) -> list[str]:
    """Ratios that are no mean of nightly ratios, neither of rounded nor of exact ones."""
    rounded = {name: _mean(getattr(stat, name) for stat in ours) for name, _, _ in known}
    exact = {name: _mean(_ratio_of_sums([stat], over, under) for stat in ours) for name, over, under in known}
    unlike_rounded = differing_averages(rounded, theirs)
    return [name for name in differing_averages(exact, theirs) if name in unlike_rounded]


def differing_averages(mine: Mapping[str, float | time | None], theirs: AverageStats) -> list[str]:
    """Names of the API's averages that contradict ours.

    Args:
        mine: our averages by the API's names.
        theirs: the API's averages.
    """
    return [
        name
        for name, reported in (theirs.averages or {}).items()
        if name in mine and (tolerance := AVERAGE_TOLERANCES.get(name)) is not None
        if reported is not None and not (mine[name] is None and isinstance(reported, time))  # times without a mean
        if not _agree(mine[name], reported, tolerance)
    ]


def _circular_mean(moments: Iterable[datetime | None], zone: tzinfo) -> time | None:
    """The mean of clock times in a zone; None when there is none, as for midnight and noon."""
    clocks = [moment.astimezone(zone) for moment in moments if moment is not None]
    angles = [(at.hour * 3600 + at.minute * 60 + at.second) * 2 * pi / DAY_SECONDS for at in clocks]
    sine, cosine = sum(map(sin, angles)), sum(map(cos, angles))
    if hypot(sine, cosine) <= _TOGETHER * len(angles):
        return None
    seconds = round(atan2(sine, cosine) * DAY_SECONDS / (2 * pi)) % DAY_SECONDS
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _ratio_of_sums(stats: Sequence[Stat], over: str, under: str) -> float | None:
    pairs = [(getattr(stat, over), getattr(stat, under)) for stat in stats]
    both = [pair for pair in pairs if None not in pair]
    whole = sum(bottom for _, bottom in both)
    return sum(top for top, _ in both) / whole if whole else None


def _agree(mine: object, reported: object, tolerance: float) -> bool:
    if isinstance(mine, time) and isinstance(reported, time):
        apart = (_seconds(mine) - _seconds(reported) + DAY_SECONDS / 2) % DAY_SECONDS - DAY_SECONDS / 2
        return abs(apart) <= tolerance
    if isinstance(mine, int | float) and isinstance(reported, int | float):
        return abs(mine - reported) <= tolerance + _NOISE
    return mine == reported or (mine is None and reported == [])


def _seconds(clock: time) -> int:
    return clock.hour * 3600 + clock.minute * 60 + clock.second
