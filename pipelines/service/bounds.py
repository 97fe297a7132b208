"""Bounds of the service in one worker; those that people choose are settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one worker takes on, and for how long."""

    events_per_minute: int = 60_000
    """Per client address."""
    refusals_per_minute: int = 60
    """Wrong keys and signatures per client address, before requests are answered with 429."""
    body_limit_bytes: int = 1024 * 1024
    body_seconds: float = 10.0
    """A body that takes longer to arrive is refused."""
    unfinished_bodies_bytes: int = 32 * 1024 * 1024
    """Of all bodies that arrive at the same time; more are refused until some are complete."""
    requests_at_once: int = 1000
    """More are refused, except `/live`."""
    inbox_seconds: float = 10.0
    """An event that cannot be stored within this is refused, so that the sender tries again."""
    read_seconds: float = 10.0
    """A query of the read API that takes longer is refused."""
    notify_every_seconds: float = 2.0
