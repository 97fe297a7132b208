"""HTTP to one server: a GET request goes out; a complete response comes back, or one error that names the cause.

`requests`' adapter and urllib3 provide connections, TLS and framing; `http_connection` decides which connections are
used again. Redirects are not followed, and neither key nor path reaches an error or a log line. The environment is not
read: proxy and certificate authorities are arguments.
"""

import http.client
import logging
import math
import re
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions
from urllib3.util.ssl_match_hostname import CertificateError

from resources.asleep.errors import (
    RAW_BYTES_KEPT,
    AsleepError,
    InterimResponse,
    Malformed,
    RequestRefused,
    Unavailable,
)
from resources.asleep.http.http_connection import (
    CONNECT_TIMEOUT_SECONDS,
    Ambiguous,
    CheckedHttpConnection,
    CheckedHttpsConnection,
    Exchange,
    Interim,
    TooLarge,
    current_exchange,
)
from resources.asleep.http.network import check_proxy, trusted_authorities

_URLLIB3_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.response")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response; its meaning is not judged here."""

    status: int
    body: bytes = field(repr=False)
    """Decompressed."""
    retry_after: str | None = None
    date: str | None = None


class HttpClient:
    """Sends GET requests to one server over kept-alive connections. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 each is one setting
        self,
        base_url: str,
        key: str,
        *,
        max_connections: int = 20,
        timeout_seconds: float = 30.0,
        max_body_bytes: int = 4 * 1024 * 1024,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        """Prepare; the first request opens the first connection.

        Args:
            base_url: `http` or `https`, host, optionally a port and a path.
            key: the API key.
            max_connections: when more threads send, they wait for each other.
            timeout_seconds: from the request to the last byte of its response.
            max_body_bytes: before and after decompression; the default holds a page of 1,000 sessions, ten times the
                most that is requested.
            ca_bundle: file or directory of certificate authorities, instead of those that come with `requests`.
            proxy: `http[s]://[user:password@]host[:port]`.

        Raises:
            ValueError: the base URL, the proxy or the certificate authorities cannot be used.
        """
        self.base_url = base_url
        base_path = _path_of(base_url)
        self._headers = {
            "x-api-key": key,
            "accept": "application/json",
            "accept-encoding": "gzip",
            "user-agent": "asleep-sync",
        }
        self._timeout_seconds = timeout_seconds
        self._timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds), read=timeout_seconds)
        self._max_body_bytes = max_body_bytes
        self._adapter = _Adapter(trusted_authorities(ca_bundle), max_connections)
        self._pool: Any = self._adapter.manager(proxy).connection_from_url(base_url)
        self._pool.ConnectionCls = CheckedHttpsConnection if self._pool.scheme == "https" else CheckedHttpConnection
        is_forwarded = proxy is not None and base_url.startswith("http:")
        self._target_prefix = base_url.rstrip("/") if is_forwarded else base_path
        self._log_filter = _NoExchange()
        for name in _URLLIB3_LOGGERS:
            logging.getLogger(name).addFilter(self._log_filter)

    def get(  # noqa: PLR0913 each belongs to the one request
        self,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        before_sending: Callable[[], None] = lambda: None,
        sent: Callable[[], None] = lambda: None,
        max_seconds: float = math.inf,
    ) -> HttpResponse:
        """Send one GET request and receive its response.

        Args:
            path: with its identifiers quoted.
            params: of the query.
            headers: beside the key.
            before_sending: called once, when a connection is open or the first attempt to open one has failed.
            sent: called when the request has been written to its connection.
            max_seconds: a shorter time-out for this request.

        Raises:
            Unavailable: no response, or not a complete one in time.
            Malformed: the response is too large, or violates HTTP.
            Exception: whatever `before_sending` or `sent` raised.
        """
        query = f"?{urlencode(params)}" if params else ""
        timeout_seconds = min(self._timeout_seconds, max_seconds)
        exchange = Exchange(timeout_seconds, self._max_body_bytes, before_sending, sent)
        token = current_exchange.set(exchange)
        try:
            return self._exchange(exchange, f"{self._target_prefix}{path}{query}", {**self._headers, **headers})
        except Exception as error:  # noqa: BLE001 every error becomes this request's failure
            failure = exchange.callback_error or self._failure_of(error, timeout_seconds)
        finally:
            current_exchange.reset(token)
        # The library's error, which holds the request, is not even the context; local variables may be shown as well.
        del path, params, headers, query
        raise failure.with_traceback(None)

    def _exchange(self, exchange: Exchange, target: str, headers: dict[str, str]) -> HttpResponse:
        _check(headers)
        try:
            return self._send(target, headers)
        except Exception:
            if exchange.is_written or exchange.callback_error is not None:
                raise
        # No connection could be opened, or the server closed it while `before_sending` waited.
        exchange.prepare()
        return self._send(target, headers)

    def _send(self, target: str, headers: dict[str, str]) -> HttpResponse:
        response = self._pool.urlopen(
            "GET",
            target,
            headers=headers,
            timeout=self._timeout,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            body = self._read(response)
        finally:
            response.close()  # closes the connection, unless the pool has it back because the response ended well
            response.release_conn()
        if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise _ProxyRefused
        if response.headers.get("content-encoding", "").lower() in {"gzip", "x-gzip"}:
            body = _decompressed(body, self._max_body_bytes)
        return HttpResponse(response.status, body, response.headers.get("retry-after"), response.headers.get("date"))

    def _read(self, response: Any) -> bytes:
        body = b""
        while not response.closed:
            body += response.read(self._max_body_bytes + 1 - len(body))
            if len(body) > self._max_body_bytes:
                raise TooLarge(body[:RAW_BYTES_KEPT])
        return body

    def _failure_of(self, error: Exception, timeout_seconds: float) -> AsleepError:
        """The project's error for a library's error: it holds nothing that the library stored about the request."""
        if isinstance(error, AsleepError):
            return error
        causes = list(_causes(error))
        for kind, message in _MESSAGES:
            cause = next((cause for cause in causes if isinstance(cause, kind)), None)
            if isinstance(cause, Interim):
                return InterimResponse(status=cause.args[0])
            if isinstance(cause, TooLarge):
                return Malformed(f"the response is larger than {self._max_body_bytes} bytes", raw=cause.args[0])
            if isinstance(cause, Ambiguous | zlib.error):
                return Malformed(message)
            if cause is not None:
                return Unavailable(message.format(seconds=timeout_seconds, reason=_reason(causes)))
        return Malformed(f"the response could not be read ({type(error).__name__})")

    def close(self) -> None:
        """Close all connections."""
        for name in _URLLIB3_LOGGERS:
            logging.getLogger(name).removeFilter(self._log_filter)
        self._pool.close()
        self._adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Adapter(HTTPAdapter):
    """Makes pool managers that trust the given certificate authorities only."""

    def __init__(self, context: ssl.SSLContext, max_connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=max_connections, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def manager(self, proxy: str | None) -> Any:
        if proxy is None:
            return self.poolmanager
        contexts = {"ssl_context": self._context, "proxy_ssl_context": self._context}
        return self.proxy_manager_for(check_proxy(proxy), **contexts)


class _NoExchange(logging.Filter):
    """Drops what urllib3 logs during an exchange: at level DEBUG it names paths, and paths name users."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 the signature of `logging`
        return current_exchange.get() is None


class _ProxyRefused(Exception):
    """The proxy demands another user name or password."""


_MESSAGES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((Interim, TooLarge), ""),
    (Ambiguous, "the response's headers do not say where it ends"),
    (zlib.error, "the response is not compressed as its headers say"),
    (_ProxyRefused, "the proxy of ASLEEP_PROXY demands another user name or password (HTTP 407)"),
    (exceptions.ProxyError, "no connection through the proxy of ASLEEP_PROXY ({reason})"),
    ((exceptions.NewConnectionError, exceptions.ConnectTimeoutError), "no connection could be made ({reason})"),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), "the connection was reset, or the response cut short"),
    ((ssl.SSLError, exceptions.SSLError, CertificateError), "no trusted TLS connection could be made ({reason})"),
    ((TimeoutError, exceptions.TimeoutError), "no complete response within {seconds:g} seconds"),
    ((OSError, http.client.HTTPException, exceptions.HTTPError), "the connection was reset, or the response cut short"),
)
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(causes: list[BaseException]) -> str:
    """In the words of the operating system or the TLS library; other texts may hold an address with a password."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, OSError) and (refused := _TUNNEL_REFUSED.match(str(cause))):
            return f"it answered CONNECT with HTTP {refused[1]}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return (
        "timed out" if any(isinstance(c, TimeoutError | exceptions.TimeoutError) for c in causes) else "no reason given"
    )


def _path_of(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise ValueError("the base URL must be http(s)://host[:port][/path]")
    return quote(parts.path.rstrip("/"), safe="/%")


def _check(headers: Mapping[str, str]) -> None:
    """Refuse a header that would be read as two, or that HTTP cannot carry."""
    if any("\n" in value or "\r" in value or max(value, default="") > "\xff" for value in headers.values()):
        raise RequestRefused("a header holds a line break, or a character outside Latin-1")


def _decompressed(body: bytes, max_bytes: int) -> bytes:
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    unpacked = gzip.decompress(body, max_bytes + 1)
    if len(unpacked) > max_bytes:
        raise TooLarge(unpacked[:RAW_BYTES_KEPT])
    if not gzip.eof or gzip.unused_data:
        raise zlib.error("cut short, or followed by something else")
    return unpacked
