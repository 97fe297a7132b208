"""Reading the parts that several answers share: state, peculiarities, start, statistics.

Lives here: which statistics there are and how each is read.  Not here: single values (that is `fields`), records
as a whole (that is `parsing` and `parsing_users`).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from resources.asleep.parsing import parse_values as fields
from resources.asleep.parsing.parse_values import ContractViolations, Object
from resources.asleep.records import PECULIARITIES, STAT_FIELDS, STATES, UNKNOWN_STATE, Stat

Reader = Callable[[Any, str, ContractViolations], Any]

RATIOS = tuple(name for name in STAT_FIELDS if name.endswith("_ratio"))

_STAT_READERS: dict[str, Reader] = {
    **dict.fromkeys(STAT_FIELDS, fields.whole_number),
    **dict.fromkeys(RATIOS, fields.ratio),
    "sleep_time": fields.timestamp,
    "wake_time": fields.timestamp,
    "sleep_efficiency": fields.efficiency,
    "breathing_index": fields.number,
    "sleep_cycle": fields.number,
    "breathing_pattern": fields.text,
    "sleep_cycle_time": fields.timestamps,
}
_STAT_STEPS = tuple((name, f"stat.{name}", reader) for name, reader in _STAT_READERS.items())
STAT_NAMES = frozenset(STAT_FIELDS)


def optional(holder: Object, name: str, reader: Reader, odd: ContractViolations, prefix: str = "") -> Any:
    """The value of a field that may be null or missing."""
    value = holder.get(name)
    return None if value is None else reader(value, f"{prefix}{name}", odd)


def named(holder: Object, *names: str) -> str:
    """The first of a field's several names under which there is a value."""
    return next((name for name in names if holder.get(name) is not None), names[0])


def required_start(value: Any, where: str, answer: Any) -> datetime:
    """The start of a session: without it the session has no place in time."""
    odd = ContractViolations()
    moment = fields.timestamp(value, where, odd)
    if moment is None:
        fields.malformed(odd[0], answer)
    return moment


def state_of(holder: Object, odd: ContractViolations, prefix: str = "") -> str:
    """A session's state as received; one that the contract lacks is kept and noted."""
    state = optional(holder, "state", fields.text, odd, prefix)
    if state in STATES:
        return str(state)
    odd.note(f"{prefix}state", "unknown state" if state else "no state")
    return str(state) if state else UNKNOWN_STATE


def peculiarities_of(holder: Object, odd: ContractViolations) -> tuple[str, ...] | None:
    """A result's peculiarities, None when there is no list; a value that the contract lacks is kept and noted."""
    value = holder.get("peculiarities")
    if type(value) is not list:
        odd.note("peculiarities", "not a list")
        return None
    texts = [fields.text(element, "peculiarities[]", odd) for element in value]
    kept = tuple(dict.fromkeys(text for text in texts if text is not None))
    if not PECULIARITIES.issuperset(kept):
        odd.note("peculiarities", "unknown value")
    return kept


def stat_of(holder: Object, odd: ContractViolations) -> Stat | None:
    """A session's statistics; null is normal for one that was not or could not be analysed."""
    stat = holder.get("stat")
    if stat is None:
        return None
    if type(stat) is not dict:
        odd.note("stat", "not an object")
        return None
    if not STAT_NAMES.issuperset(stat):
        odd.unknown_fields("stat.", stat.keys() - STAT_NAMES)
    return read_stat(stat, odd)


def read_stat(holder: Object, odd: ContractViolations) -> Stat:
    """The statistics among an object's fields."""
    get = holder.get
    return Stat._make(
        [None if (value := get(name)) is None else reader(value, where, odd) for name, where, reader in _STAT_STEPS]
    )
