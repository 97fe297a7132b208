"""The service's options, and which of them contradict each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from datadog.dogstatsd.base import DogStatsd
from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Everything configurable about the service."""

    database_url: str = field(repr=False)
    enable_webhooks: bool = True
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that a webhook may show: all keys of the Asleep environment."""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """When there are any, every event must be signed with one of them; two while one replaces the other."""
    service_api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys of the read API's clients; none: the read API is off."""
    notify_url: str | None = field(default=None, repr=False)
    """Where notifications of finished sessions are sent; None: nowhere."""
    notify_secret: str | None = field(default=None, repr=False)
    read_requests_per_hour: int = 100
    session_requests_per_minute: int = 10
    summary_requests_per_minute: int = 5
    events_per_minute: int = 60_000
    """Per client address and worker."""
    refusals_per_minute: int = 60
    """Wrong keys and signatures per client address and worker, before requests are answered with 429."""
    body_limit_bytes: int = 1024 * 1024
    body_seconds: float = 10.0
    """A body that takes longer to arrive is refused."""
    unfinished_bodies_bytes: int = 32 * 1024 * 1024
    """Of all bodies that arrive at the same time, in one worker; more are refused until some are complete."""
    requests_at_once: int = 1000
    """In one worker; more are refused, except `/live`."""
    inbox_seconds: float = 10.0
    """An event that cannot be stored within this is refused, so that the sender tries again."""
    read_seconds: float = 10.0
    """A query of the read API that takes longer is refused."""
    notify_every_seconds: float = 2.0
    statsd: DogStatsd | None = None
    """Receives counts and times of requests, and the figures of the dependencies at each health check."""
    checks: Mapping[str, Callable[[Connection], Mapping[str, object]]] = field(default_factory=dict)
    """More dependencies for /health by name: each returns a `state` (up, degraded, down) and figures."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: names what is missing.
        """
        if self.enable_webhooks and not any(self.api_keys):
            raise ValueError("Webhooks need at least one key to compare with: set ASLEEP_API_KEY or turn them off.")
        if self.notify_url and not self.notify_secret:
            raise ValueError("Notifications are signed: set NOTIFY_SECRET beside NOTIFY_URL.")
