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
        self._low = float("-inf")
        self._high = float("inf")
        self._seen_at = 0.0

    def observe(self, *, asked_at: float, server_seconds: float, answered_at: float) -> None:
        """Learn from one exchange; an interval that contradicts all before means that a clock was set."""
        slack = _DRIFT * (answered_at - self._seen_at)
        low = max(self._low - slack, asked_at - server_seconds)
        high = min(self._high + slack, answered_at - server_seconds)
        if low > high:
            low, high = asked_at - server_seconds, answered_at - server_seconds
        self._low, self._high, self._seen_at = low, high, answered_at

    def monotonic(self, server_seconds: float) -> float:
        """When a moment of the server's clock comes, by our monotonic clock."""
        return server_seconds + (self._low + self._high) / 2

    @property
    def uncertainty_seconds(self) -> float:
        """By how much `monotonic` may be wrong either way."""
        return (self._high - self._low) / 2
