"""One HTTP exchange: a GET goes out, a whole answer comes back or a reason why not.

Lives here: headers, the key, the size limit, what each failure is called.  Not here: what an answer means (that is
`answers`), repetition, the rate limit.

The connections are those of a `requests` adapter, but a request is written and its answer read here: through
`requests.Session` it takes ten times the processor time, for features (cookies, redirects, proxies and credentials
from the environment) that must not be used with this key anyway.

Nothing is read from the environment: neither proxies nor certificate authorities (pass `ca_bundle`).
"""

import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from urllib3 import exceptions
from urllib3.util.ssl_match_hostname import CertificateError

from resources.asleep.connections import Connections
from resources.asleep.errors import RAW_BYTES_KEPT, Malformed, Unavailable
from resources.asleep.wire import TooLarge, read_answer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as received: nothing about it has been judged."""

    status: int
    body: bytes
    """Decompressed."""
    retry_after: str | None = None
    date: str | None = None


class Exchange:
    """Exchanges with one server over kept-alive connections. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 each is one setting
        self,
        base_url: str,
        key: str,
        *,
        max_connections: int = 20,
        timeout_seconds: float = 30.0,
        max_body_bytes: int = 16 * 1024 * 1024,
        ca_bundle: str | None = None,
    ) -> None:
        """Get ready; nothing is sent yet.

        Args:
            base_url: `http` or `https`, host, optionally a port and a path.
            key: the API key.
            max_connections: more threads than this wait for each other.
            timeout_seconds: from the request to its answer's last byte, so that a dripping one ends too.
            max_body_bytes: after decompression.
            ca_bundle: file or directory of certificate authorities, instead of those that come with `requests`.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise ValueError("the base URL must be http(s)://host[:port][/path]")
        self._path_prefix = quote(parts.path.rstrip("/"), safe="/%")
        self._headers = _Hidden(
            _lines(
                {
                    "host": parts.netloc.encode("idna").decode(),
                    "x-api-key": key,
                    "accept": "application/json",
                    "accept-encoding": "gzip",
                    "user-agent": "asleep-sync",
                }
            )
        )
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._connections = Connections(
            base_url, most=max_connections, timeout_seconds=timeout_seconds, ca_bundle=ca_bundle
        )

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], sent: Callable[[], None] | None = None
    ) -> Reply:
        """Send one GET and wait for the whole answer.

        Args:
            path: with its identifiers quoted.
            params: of the query.
            headers: beside the key.
            sent: called when the request has been written to its connection.

        Raises:
            Unavailable: no answer, or not all of it in time.
            Malformed: an answer too large, or wrongly compressed.
        """
        query = f"?{urlencode(params)}" if params else ""
        start = f"GET {self._path_prefix}{path}{query} HTTP/1.1\r\n".encode("ascii")
        request = _Hidden(b"%b%b%b\r\n" % (start, self._headers, _lines(headers)))
        try:
            return self._exchange(request, sent)
        except Exception as error:  # noqa: BLE001 what has no name here is raised again
            failure = self._named(error)
        # Raised out here, so that the library's error, which knows paths and headers, is not even its context.
        raise failure

    def _exchange(self, request: "_Hidden", sent: Callable[[], None] | None) -> Reply:
        with self._connections.one() as connection:
            deadline = time.monotonic() + self._timeout_seconds
            connection.sock.sendall(request)
            if sent is not None:
                sent()
            answer = read_answer(connection.sock, deadline=deadline, most_bytes=self._max_body_bytes)
            if answer.is_last:
                connection.close()
        headers, body = answer.headers, answer.body
        if headers.get("content-encoding", "").lower() == "gzip":
            body = _unpacked(body, self._max_body_bytes)
        return Reply(answer.status, body, headers.get("retry-after"), headers.get("date"))

    def _named(self, error: Exception) -> Exception:
        if isinstance(error, TooLarge):
            message = f"the answer is larger than {self._max_body_bytes} bytes"
            return Malformed(message, raw=error.args[0][:RAW_BYTES_KEPT])
        if isinstance(error, zlib.error):
            return Malformed("the answer is not compressed as it says")
        if isinstance(error, TimeoutError):
            return Unavailable(f"no whole answer within {self._timeout_seconds:g} seconds")
        for kind, message in _MESSAGES:
            if isinstance(error, kind):
                return Unavailable(message)
        return error

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_MESSAGES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (exceptions.NewConnectionError, "no connection could be made"),
    (exceptions.ConnectTimeoutError, "connecting took too long"),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), "the connection was reset, or the answer cut short"),
    ((ssl.SSLError, exceptions.SSLError, CertificateError), "no trusted TLS connection could be made"),
    ((OSError, HTTPException), "the connection was reset, or the answer cut short"),
    (exceptions.HTTPError, "no connection could be made"),
)


class _Hidden(bytes):
    """Part of a request. The key and the user in it do not show, not even in a traceback with local variables."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def _lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent.

    Raises:
        ValueError: one would be read as two.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds the end of a line")
    return lines.encode("latin-1")


def _unpacked(body: bytes, most_bytes: int) -> bytes:
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    unpacked = unzip.decompress(body, most_bytes + 1)
    if len(unpacked) > most_bytes:
        raise TooLarge(unpacked)
    if not unzip.eof:
        raise zlib.error("cut short")
    return unpacked
