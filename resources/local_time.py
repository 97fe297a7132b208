"""Time zones by the names that phones send, and what a clock in a zone shows.

Does not belong here: which zone counts for a session that has none of its own (`resources.database.sync.local_zones`).
"""

import re
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

UTC_ZONE = "UTC"
MAX_OFFSET = timedelta(hours=14)
"""The largest difference from UTC in use (Line Islands)."""

_OF_THE_MACHINE = frozenset({"localtime", "Factory", "posixrules"})
_BLANKS = re.compile(r"[\s_]+")
_OFFSET = re.compile(r"(?:utc|gmt)?(?P<sign>[+\-\u2212\u2013])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2})(?::?00)?)?")


class LocalZone(NamedTuple):
    """A zone that can be used."""

    name: str
    """The zone database's name, or a fixed offset as `+09:00`."""
    source: Literal["own", "offset"]
    tzinfo: tzinfo


@lru_cache(maxsize=4096)
def local_zone(text: str | None) -> LocalZone | None:
    """The zone that a text names, whatever its case and blanks; None when it names none.

    `asia/seoul` and `America/New York` are names; `GMT+09:00`, `UTC+9`, `+0900` and `Z` are fixed offsets. A name of
    the zone database counts before an offset: `Etc/GMT+9` lies nine hours west, as that database has it.
    """
    key = _key(text or "")
    if name := _names().get(key):
        return LocalZone(name, "own", ZoneInfo(name))
    offset = timedelta() if key == "z" else _offset(key)
    return None if offset is None else LocalZone(_offset_name(offset), "offset", timezone(offset))


def on_the_clock(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """Return what a local clock showed at a moment; where Python cannot compute it, the clock of UTC.

    Args:
        moment: aware; None gives None.
        zone: of the clock.

    Returns:
        A time without a zone.
    """
    if moment is None:
        return None
    try:
        return moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return moment.replace(tzinfo=None)


@cache
def _names() -> dict[str, str]:
    return {_key(name): name for name in sorted(available_timezones() - _OF_THE_MACHINE)}


def _key(text: str) -> str:
    return _BLANKS.sub("", text).casefold()


def _offset(key: str) -> timedelta | None:
    found = _OFFSET.fullmatch(key)
    if found is None:
        return None
    minutes = int(found["minutes"] or 0)
    size = timedelta(hours=int(found["hours"]), minutes=minutes)
    if minutes > 59 or size > MAX_OFFSET:  # noqa: PLR2004 minutes of an hour
        return None
    return size if found["sign"] == "+" else -size


def _offset_name(offset: timedelta) -> str:
    minutes = round(offset / timedelta(minutes=1))
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
