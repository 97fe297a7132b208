"""The Asleep API as a resource: how it is reached, and a client made of that.

Does not belong here: Dagster's config system, which would show the key in the UI.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine

from resources.asleep.client import AsleepClient
from resources.asleep.http.http_client import HttpClient
from resources.asleep.request_events import Listener
from resources.asleep.transport import RetryPolicy, Transport
from resources.rate_limit.limiter import PostgresRateLimiter


class _AnsweredAddresses(Protocol):
    """Remembers in the database the addresses from which the API has responded."""

    def has_answered(self, engine: Engine, base_url: str) -> bool: ...

    def note_answer(self, engine: Engine, base_url: str) -> None: ...


class KeyMissing(ValueError):
    """ASLEEP_API_KEY is not set: put the key of your Asleep account there (or in .env)."""


@dataclass(frozen=True, slots=True)
class AsleepApi:
    """How the API is reached, with which key and how fast."""

    base_url: str
    key: str | None = field(repr=False)
    requests_per_second: float
    max_connections: int
    timeout_seconds: float
    listeners: Sequence[Listener] = ()
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    ca_bundle: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    addresses: _AnsweredAddresses | None = None
    """Where the API has responded before; None to treat every address as known."""

    @contextmanager
    def client(self, engine: Engine, *more_listeners: Listener) -> Iterator[AsleepClient]:
        """A client whose requests share one rate limit with all processes that use the database.

        Raises:
            KeyMissing: no key is configured.
        """
        if self.key is None:
            raise KeyMissing(KeyMissing.__doc__)
        limiter = PostgresRateLimiter(engine, api_key=self.key, requests_per_second=self.requests_per_second)
        with (
            closing(limiter),
            HttpClient(
                self.base_url,
                key=self.key,
                max_connections=self.max_connections,
                timeout_seconds=self.timeout_seconds,
                ca_bundle=self.ca_bundle,
                proxy=self.proxy,
            ) as http,
        ):
            note = None
            if self.addresses is not None and not self.addresses.has_answered(engine, self.base_url):
                note = partial(self.addresses.note_answer, engine, self.base_url)
            listeners = (*self.listeners, *more_listeners)
            transport = Transport(limiter, http, listeners, retry_policy=self.retry_policy, note_contact=note)
            yield AsleepClient(transport, account=self.account)

    @property
    def account(self) -> str:
        """Stands for base URL and key where something is remembered of them."""
        return hashlib.sha256(f"{self.base_url} {self.key}".encode()).hexdigest()[:16]
