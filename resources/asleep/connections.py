"""Connections to one server that keep a deadline and keep quiet.

Lives here: the pool, TLS, the deadline for all that a socket has to deliver, the libraries' loggers.
Not here: requests, answers, the key.
"""

import io
import logging
import threading
import time
from http.client import HTTPResponse as PlainResponse
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_LOGGERS_THAT_NAME_URLS = ("urllib3.connectionpool", "urllib3.connection")
_this_thread = threading.local()


class Connections:
    """Pooled, kept-alive connections to one server. Safe to share between threads."""

    def __init__(self, base_url: str, *, most: int, ca_bundle: str | None) -> None:
        """Get ready; nothing is opened yet.

        Args:
            base_url: where to.
            most: more threads than this wait for each other.
            ca_bundle: file or directory of certificate authorities, instead of those that come with `requests`.
        """
        verify = ca_bundle or True
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=most, pool_block=True)
        request = requests.Request("GET", base_url).prepare()
        pool: Any = self._adapter.get_connection_with_tls_context(request, verify)
        cast("Any", self._adapter).cert_verify(pool, base_url, verify, None)
        pool.ConnectionCls = _TlsConnection if pool.scheme == "https" else _Connection
        self.pool: HTTPConnectionPool = pool
        self._silencer = _Silencer(urlsplit(base_url).hostname or "")
        for name in _LOGGERS_THAT_NAME_URLS:
            logging.getLogger(name).addFilter(self._silencer)

    def close(self) -> None:
        """Close all connections."""
        for name in _LOGGERS_THAT_NAME_URLS:
            logging.getLogger(name).removeFilter(self._silencer)
        self.pool.close()
        self._adapter.close()


def answer_within(seconds: float) -> None:
    """Give the answer to this thread's next request a deadline."""
    _this_thread.deadline = time.monotonic() + seconds


class _Silencer(logging.Filter):
    """Keeps lines about one server out of the libraries' logs: its paths name users and sessions."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    def filter(self, record: logging.LogRecord) -> bool:
        return self._host not in record.getMessage()


class _BoundedStream(io.RawIOBase):
    """What a socket delivers until the deadline; a socket's own time limit starts anew with every byte."""

    def __init__(self, stream: Any, sock: Any, deadline: float) -> None:
        super().__init__()
        self._stream = stream
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)
        return cast("int | None", self._stream.readinto(buffer))

    def close(self) -> None:
        self._stream.close()
        super().close()


class _BoundedResponse(PlainResponse):
    """An answer whose status line, headers and body must all arrive before the deadline."""

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        stream = cast("Any", self.fp).detach()
        self.fp = io.BufferedReader(_BoundedStream(stream, sock, _this_thread.deadline))


class _Connection(HTTPConnection):
    response_class = _BoundedResponse


class _TlsConnection(HTTPSConnection):
    response_class = _BoundedResponse
