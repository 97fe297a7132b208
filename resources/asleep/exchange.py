"""One HTTP exchange: a GET goes out, a whole answer comes back or a reason why not.

Lives here: headers, the key, the size limit, what each failure is called.  Not here: what an answer means (that is
`answers`), repetition, the rate limit.

The connections are those of a `requests` adapter, asked directly: preparing, sending and unwrapping a request
through `requests.Session` takes two to three times the processor time of the exchange itself, for features (cookies,
redirects, proxies and credentials from the environment) that must not be used with this key anyway.

Nothing is read from the environment: neither proxies nor certificate authorities (pass `ca_bundle`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode, urlsplit

from urllib3 import BaseHTTPResponse, Timeout, exceptions

from resources.asleep.connections import Connections, answer_within
from resources.asleep.errors import RAW_BYTES_KEPT, AsleepError, Malformed, Unavailable

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 64 * 1024


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
            timeout_seconds: for a whole answer, so that a dripping one ends too.
            max_body_bytes: after decompression.
            ca_bundle: file or directory of certificate authorities, instead of those that come with `requests`.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise ValueError("the base URL must be http(s)://host[:port][/path]")
        self._path_prefix = parts.path.rstrip("/")
        self._headers = _Headers(
            {"x-api-key": key, "accept": "application/json", "accept-encoding": "gzip", "user-agent": "asleep-sync"}
        )
        self._timeout_seconds = timeout_seconds
        self._timeout = Timeout(connect=min(CONNECT_SECONDS, timeout_seconds), read=timeout_seconds)
        self._max_body_bytes = max_body_bytes
        self._connections = Connections(base_url, most=max_connections, ca_bundle=ca_bundle)

    def get(self, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """Send one GET and wait for the whole answer.

        Args:
            path: with its identifiers quoted.
            params: of the query.
            headers: beside the key.

        Raises:
            Unavailable: no answer, or not all of it in time.
            Malformed: an answer too large, or wrongly compressed.
        """
        target = f"{self._path_prefix}{path}?{urlencode(params)}" if params else f"{self._path_prefix}{path}"
        try:
            return self._get(target, _Headers({**self._headers, **headers}))
        except (Malformed, Unavailable) as error:
            failure: AsleepError = error
        except exceptions.HTTPError as error:
            failure = self._named(error)
        # Raised out here, so that the library's error, which knows paths and headers, is not even its context.
        raise failure

    def _get(self, target: str, headers: dict[str, str]) -> Reply:
        answer_within(self._timeout_seconds)
        response = self._connections.pool.urlopen(
            "GET",
            target,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
        )
        try:
            body = self._whole_body(response)
        except BaseException:
            response.close()
            response.release_conn()
            raise
        return Reply(response.status, body, response.headers.get("retry-after"), response.headers.get("date"))

    def _whole_body(self, response: BaseHTTPResponse) -> bytes:
        chunks = []
        size = 0
        while chunk := response.read(CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_body_bytes:
                message = f"the answer is larger than {self._max_body_bytes} bytes"
                raw = b"".join(chunks)[:RAW_BYTES_KEPT]
                raise Malformed(message, status=response.status, raw=raw)
        return b"".join(chunks)

    def _named(self, error: exceptions.HTTPError) -> AsleepError:
        if isinstance(error, exceptions.DecodeError):
            return Malformed("the answer is not compressed as it says")
        if isinstance(error, exceptions.ReadTimeoutError):
            return Unavailable(f"no whole answer within {self._timeout_seconds:g} seconds")
        for kind, message in _MESSAGES:
            if isinstance(error, kind):
                return Unavailable(message)
        return Unavailable(f"the exchange failed ({type(error).__name__})")

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_MESSAGES = (
    (exceptions.NewConnectionError, "no connection could be made"),
    (exceptions.ConnectTimeoutError, "connecting took too long"),
    (exceptions.SSLError, "no trusted TLS connection could be made"),
    (exceptions.ProtocolError, "the connection was reset, or the answer cut short"),
)


class _Headers(dict[str, str]):
    """Headers whose values (the key, a user) do not show, not even in a traceback with local variables."""

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"

    def copy(self) -> "_Headers":
        return _Headers(self)
