"""Reads the fields of an object, and those that several responses share: state, peculiarities, statistics."""

from collections.abc import Callable
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
        self,
        holder: Object,
        violations: list[str],
        prefix: str = "",
        names: frozenset[str] = frozenset(),
        *,
        response: Object | None = None,
    ) -> None:
        """Prepare, and note unknown fields.

        Args:
            holder: the object.
            violations: takes what is found: each once, and not endlessly many.
            prefix: of the fields' names in violations.
            names: all that the contract has; empty when the caller checks them.
            response: kept with `Malformed`; by default the object.
        """
        self.get = holder.get
        self._violations = violations
        self._prefix = prefix
        self._response = holder if response is None else response
        if names and not names.issuperset(holder):
            for name in sorted(holder.keys() - names):
                self.note(name if FIELD_NAME.fullmatch(name) else "(a name with other characters)", "unknown field")

    def read(self, name: str, reader: Reader, *, may_be_null: bool = True) -> Any:
        """The value of a field; None when it is missing or of another form, which is noted.

        Args:
            name: of the field.
            reader: checks and converts the value.
            may_be_null: False to take null for another form.
        """
        value = self.get(name)
        return None if value is None and may_be_null else self._checked(name, value, reader)

    def _checked(self, name: str, value: Any, reader: Reader) -> Any:
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
        if len(self._violations) < MAX_VIOLATIONS and violation not in self._violations:
            self._violations.append(violation)

    def required(self, name: str, reader: Reader, *, place: str | None = None) -> Any:
        """The value of a field without which a response is of no use: the id of a session, its start.

        Args:
            name: of the field.
            reader: checks and converts the value.
            place: of the field, for the error.

        Raises:
            Malformed: it is missing, or of another form.
        """
        try:
            return reader(self.get(name))
        except Violation as violation:
            malformed(f"{place or self._prefix + name}: {violation.what}", self._response)

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

    def state(self) -> str:
        """A session's state as received; one that the contract lacks is kept and noted."""
        state = self.read("state", values.text)
        if state in STATES:
            return str(state)
        self.note("state", "unknown state" if state else "no state")
        return str(state) if state else UNKNOWN_STATE

    def peculiarities(self) -> tuple[str, ...] | None:
        """A result's peculiarities, None when there is no list; a value that the contract lacks is kept and noted."""
        value = self.get("peculiarities")
        if type(value) is not list:
            self.note("peculiarities", "not a list")
            return None
        texts = [self._checked("peculiarities[]", element, values.text) for element in value]
        kept = tuple(dict.fromkeys(text for text in texts if text is not None))
        if not PECULIARITIES.issuperset(kept):
            self.note("peculiarities", "unknown value")
        return kept

    def stat(self) -> Stat:
        """The statistics among an object's fields."""
        get = self.get
        try:
            return Stat._make([None if (value := get(name)) is None else read(value) for name, read in _STAT_STEPS])
        except Violation:
            return Stat._make([self.read(name, read) for name, read in _STAT_STEPS])
