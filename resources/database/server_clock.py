"""The database server's clock, read from here: no process trusts its own wall clock.

Lives here: the arithmetic of comparing two clocks.  Not here: asking the server, waiting.
"""

_DRIFT = 2e-4
"""By how much two clocks may run apart, seconds a second: more than NTP slews in practice."""


class ServerClock:
    """Translates between the server's time and this process's monotonic clock.

    Each exchange says that the server read its clock between our asking and our getting the answer; the true
    difference lies in all these intervals, so slow exchanges spoil nothing and fast ones make it exact.
    """

    def __init__(self) -> None:
        self._bounds = (float("-inf"), float("inf"))
        self._seen_at = 0.0

    def observe(self, *, asked_at: float, server_seconds: float, answered_at: float) -> None:
        """Learn from one exchange; an interval that contradicts all before means that a clock was set."""
        slack = _DRIFT * (answered_at - self._seen_at)
        earliest, latest = asked_at - server_seconds, answered_at - server_seconds
        low, high = max(self._bounds[0] - slack, earliest), min(self._bounds[1] + slack, latest)
        self._bounds = (low, high) if low <= high else (earliest, latest)
        self._seen_at = answered_at

    def monotonic(self, server_seconds: float) -> float:
        """When a moment of the server's clock comes, by our monotonic clock."""
        return server_seconds + sum(self._bounds) / 2

    def server(self, monotonic_seconds: float) -> float:
        """What the server's clock shows at a moment of our monotonic clock."""
        return monotonic_seconds - sum(self._bounds) / 2

    @property
    def uncertainty_seconds(self) -> float:
        """By how much `monotonic` may be wrong either way."""
        return (self._bounds[1] - self._bounds[0]) / 2
