"""Reads the fields of an object, and those that several responses share: state, peculiarities, start, statistics."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from resources.asleep.parsing import parse_values as values
from resources.asleep.parsing.parse_values import FIELD_NAME, MAX_VIOLATIONS, Object, Violation, malformed
from resources.asleep.records import PECULIARITIES, STAT_FIELDS, STATES, UNKNOWN_STATE, Stat

Reader = Callable[[Any], Any]

_STAT_READERS: dict[str, Reader] = {
    **dict.fromkeys(STAT_FIELDS, values.whole_number),
    **{name: values.ratio for name in STAT_FIELDS if name.endswith("_ratio")},
    "sleep_time": values.timestamp,
    "wake_time": values.timestamp,
    "sleep_efficiency": values.efficiency,
    "breathing_index": values.number,
    "sleep_cycle": values.number,
    "breathing_pattern": values.text,
    "sleep_cycle_time": values.timestamps,
}
_STAT_STEPS = tuple(_STAT_READERS.items())
STAT_NAMES = frozenset(STAT_FIELDS)


class Fields:
    """The fields of one object of a response; collects how they violate the contract."""

    def __init__(
        self, holder: Object, violations: list[str], prefix: str = "", names: frozenset[str] = frozenset()
    ) -> None:
        """Prepare, and note unknown fields.

        Args:
            holder: the object.
            violations: takes what is found: each once, and not endlessly many.
            prefix: of the fields' names in violations.
            names: all that the contract has; empty when the caller checks them.
        """
        self.get = holder.get
        self.violations = violations
        self._prefix = prefix
        if names and not names.issuperset(holder):
            self.note_unknown(holder.keys() - names)

    def read(self, name: str, reader: Reader, *, may_be_null: bool = True) -> Any:
        """The value of a field; None when it is missing or of another form, which is noted.

        Args:
            name: of the field.
            reader: checks and converts the value.
            may_be_null: False to take null for another form.
        """
        value = self.get(name)
        return None if value is None and may_be_null else self.checked(name, value, reader)

    def checked(self, name: str, value: Any, reader: Reader) -> Any:
        """What a reader makes of a value.

        Args:
            name: of the field.
            value: of the field, or an element of it.
            reader: checks and converts the value.
        """
        try:
            return reader(value)
        except Violation as violation:
            self.note(f"{name}{violation.where}", violation.what)
            return violation.kept

    def note(self, name: str, what: str) -> None:
        """Note a violation.

        Args:
            name: of the field.
            what: how it deviates, without the value.
        """
        violation = f"{self._prefix}{name}: {what}"
        if len(self.violations) < MAX_VIOLATIONS and violation not in self.violations:
            self.violations.append(violation)

    def note_unknown(self, names: set[str]) -> None:
        """Note fields that the contract does not have; a name that may be an id is not repeated."""
        for name in sorted(names):
            self.note(name if FIELD_NAME.fullmatch(name) else "(a name with other characters)", "unknown field")

    def named(self, *names: str) -> str:
        """The first of a field's several names under which there is a value."""
        return next((name for name in names if self.get(name) is not None), names[0])

    def object(self, name: str) -> Object | None:
        """The object in a field; None when there is none."""
        value = self.get(name)
        if value is None or type(value) is dict:
            return value
        self.note(name, "not an object")
        return None


def required_start(value: Any, where: str, answer: Any) -> datetime:
    """The start of a session: without it the session has no place in time.

    Args:
        value: of the field.
        where: name of the field.
        answer: kept with the error.

    Raises:
        Malformed: it is no timestamp.
    """
    try:
        return values.timestamp(value)
    except Violation as violation:
        malformed(f"{where}: {violation.what}", answer)


def state_of(fields: Fields) -> str:
    """A session's state as received; one that the contract lacks is kept and noted."""
    state = fields.read("state", values.text)
    if state in STATES:
        return str(state)
    fields.note("state", "unknown state" if state else "no state")
    return str(state) if state else UNKNOWN_STATE


def peculiarities_of(fields: Fields) -> tuple[str, ...] | None:
    """A result's peculiarities, None when there is no list; a value that the contract lacks is kept and noted."""
    value = fields.get("peculiarities")
    if type(value) is not list:
        fields.note("peculiarities", "not a list")
        return None
    texts = [fields.checked("peculiarities[]", element, values.text) for element in value]
    kept = tuple(dict.fromkeys(text for text in texts if text is not None))
    if not PECULIARITIES.issuperset(kept):
        fields.note("peculiarities", "unknown value")
    return kept


def stat_of(fields: Fields) -> Stat | None:
    """A session's statistics; null is normal for one that was not or could not be analysed."""
    stat = fields.object("stat")
    return None if stat is None else read_stat(Fields(stat, fields.violations, "stat.", STAT_NAMES))


def read_stat(fields: Fields) -> Stat:
    """The statistics among an object's fields."""
    get = fields.get
    try:
        return Stat._make([None if (value := get(name)) is None else read(value) for name, read in _STAT_STEPS])
    except Violation:
        return Stat._make([fields.read(name, read) for name, read in _STAT_STEPS])
