"""Connections to one server.

Lives here: the pool, TLS.  Not here: requests, answers, the key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

CONNECT_SECONDS = 10.0


class Connections:
    """Pooled, kept-alive connections to one server, made by a `requests` adapter. Safe to share between threads."""

    def __init__(self, base_url: str, *, most: int, timeout_seconds: float, ca_bundle: str | None) -> None:
        """Get ready; nothing is opened yet.

        Args:
            base_url: where to.
            most: more threads than this wait for each other.
            timeout_seconds: how long to wait for the first byte of an answer.
            ca_bundle: file or directory of certificate authorities, instead of those that come with `requests`.
        """
        verify = ca_bundle or True
        self._timeout_seconds = timeout_seconds
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=most, pool_block=True)
        request = requests.Request("GET", base_url).prepare()
        self._pool: Any = self._adapter.get_connection_with_tls_context(request, verify)
        cast("Any", self._adapter).cert_verify(self._pool, base_url, verify, None)

    @contextmanager
    def one(self) -> Iterator[HTTPConnection]:
        """An open connection for one exchange; closed when that fails, else kept for the next.

        The pool's own two methods do this: `urlopen` around them takes three times as long as the exchange.
        """
        connection: HTTPConnection = self._pool._get_conn()  # noqa: SLF001
        try:
            if connection.is_closed:
                connection.timeout = min(CONNECT_SECONDS, self._timeout_seconds)
                connection.connect()
            if connection.sock.gettimeout() != self._timeout_seconds:
                connection.sock.settimeout(self._timeout_seconds)
            yield connection
        except BaseException:
            connection.close()
            raise
        finally:
            self._pool._put_conn(connection)  # noqa: SLF001

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
        self._adapter.close()
