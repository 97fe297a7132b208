"""The service's own rate limit, strict: never more than the rate in any second."""

from collections import deque


class SlidingWindow:
    """Counts what happened within the last `seconds`."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self._moments: deque[float] = deque()

    def count(self, now: float) -> int:
        """How many moments lie in the window that ends now. Moments a full window apart do not share one."""
        moments = self._moments
        while moments and moments[0] <= now - self.seconds:
            moments.popleft()
        return len(moments)

    def add(self, now: float) -> None:
        """Something happened now."""
        self._moments.append(now)


class RateLimit:
    """Lets at most `rate` requests a second through, each key on its own; 0 means no limit."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._windows: dict[str, SlidingWindow] = {}

    def change(self, rate: float) -> None:
        """From now on another rate; what was let through before still counts."""
        if (rate < 1) != (self.rate < 1):
            self._windows.clear()
        self.rate = rate

    def allows(self, key: str, now: float) -> bool:
        """Whether a request of `key` at `now` is let through. Refused requests do not count.

        Args:
            key: the API key.
            now: monotonic seconds.
        """
        if not self.rate:
            return True
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = SlidingWindow(max(1.0, 1 / self.rate))
        if window.count(now) >= max(1, int(self.rate)):
            return False
        window.add(now)
        return True


class BusiestSecond:
    """The highest number of requests that arrived within any one second."""

    def __init__(self) -> None:
        self._window = SlidingWindow()
        self.highest = 0

    def add(self, now: float) -> None:
        """A request arrived."""
        self._window.add(now)
        self.highest = max(self.highest, self._window.count(now))
