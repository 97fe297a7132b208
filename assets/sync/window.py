"""The stretch of time that a sync covers: pure arithmetic on half-open UTC intervals."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

MAX_GAP_DAYS = 31
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """All session starts `start <= t < end`, both aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a window's ends must carry a time zone")
        if self.start >= self.end:
            raise ValueError(f"the window is empty: it starts at {self.start} and ends at {self.end}")

    @classmethod
    def of_days(cls, first: date, last: date) -> "Window":
        """The window of consecutive UTC days.

        Args:
            first: first day.
            last: last day, included.
        """
        return cls(_midnight(first), _midnight(last) + _DAY)

    @property
    def days_to_list(self) -> tuple[date, date]:
        """First and last UTC day to request: one day wider on each side than the window.

        The API assigns sessions to dates by their start; the day more costs nothing and forgives a source that
        assigns them otherwise.
        """
        return self.start.date() - _DAY, (self.end - timedelta(microseconds=1)).date() + _DAY

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Start and end."""
        return self.start, self.end

    @property
    def listed(self) -> "Window":
        """The stretch that `days_to_list` cover."""
        return Window.of_days(*self.days_to_list)

    def hull(self, start: datetime | None, end: datetime | None) -> "Window":
        """The smallest window that covers this one and another stretch.

        Args:
            start: start of the stretch, aware; None adds nothing on this side.
            end: end of the stretch, aware and exclusive; None adds nothing on this side.
        """
        return Window(min(self.start, start or self.start), max(self.end, end or self.end))

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def windows_of(days: Iterable[date]) -> list[Window]:
    """Few windows that cover the days: those close together share one, since a page of a list holds many sessions."""
    spans: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if spans and (day - spans[-1][1]).days <= MAX_GAP_DAYS:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return [Window.of_days(first, last) for first, last in spans]
