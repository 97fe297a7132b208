"""The database server's clock as this process reads it: no process trusts its own wall clock."""

_DRIFT = 2e-4  # by how much two clocks may run apart, in seconds per second: more than NTP slews in practice


class ServerClock:
    """Translates between the server's time and this process's monotonic clock.

    The server reads its clock between a request and its response, so the true difference lies in the interval that
    both give, and in all such intervals: slow exchanges do no harm and fast ones make it exact.
    """

    def __init__(self) -> None:
        self._low, self._high, self._seen_at = float("-inf"), float("inf"), 0.0

    def observe(self, *, asked_at: float, server_seconds: float, answered_at: float) -> None:
        """Learn from one exchange; an interval that contradicts all before means that a clock was set."""
        slack = _DRIFT * (answered_at - self._seen_at)
        earliest, latest = asked_at - server_seconds, answered_at - server_seconds
        low, high = max(self._low - slack, earliest), min(self._high + slack, latest)
        self._low, self._high = (low, high) if low <= high else (earliest, latest)
        self._seen_at = answered_at

    def monotonic(self, server_seconds: float) -> float:
        """When a moment of the server's clock comes, by the monotonic clock."""
        return server_seconds + (self._low + self._high) / 2

    def server(self, monotonic_seconds: float) -> float:
        """What the server's clock shows at a moment of the monotonic clock."""
        return monotonic_seconds - (self._low + self._high) / 2
