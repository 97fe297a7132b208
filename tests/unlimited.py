"""A rate limiter without a limit, for tests of other things."""

from datetime import UTC, datetime

from resources.rate_limit.limiter import Permit


class Unlimited:
    """Grants every permit at once."""

    def acquire(self, **_: object) -> Permit:
        return Permit(granted_at=datetime.now(UTC), waited_seconds=0.0)

    def sent(self, *_: object) -> None:
        pass

    def report(self, *_: object, **__: object) -> None:
        pass
