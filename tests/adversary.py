"""An adversarial gateway: it delivers correct responses in every way that could confuse a client, chosen at random.

Each fault tries to make the client take another user's response, which the gateway keeps at hand, for its own.
"""

import gzip
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.bad_server import Request, Wire

MAX_ALIGNED_BYTES = 15_000
"""Longer responses may leave the system in two pieces, so that what follows comes too late to be noticed."""
HANG_SECONDS = 1.5
"""Longer than the time-out of a client under test."""


def whole(body: bytes, status: int = 200, *headers: str) -> bytes:
    """A well-formed response."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """The same in chunks."""
    half = len(body) // 2 or 1
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@dataclass(frozen=True)
class Delivery:
    """A correct response, and that of another user, which must not be taken for it."""

    wire: Wire
    status: int
    body: bytes
    stale: bytes
    """A body."""
    chance: random.Random

    @property
    def right(self) -> bytes:
        """The response as it should be delivered."""
        return whole(self.body, self.status)


def _interim(d: Delivery) -> None:
    status = d.chance.choice([102, 103, 199])
    d.wire.send(f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode() * d.chance.choice([1, 2]), d.right)


def _interim_alone(d: Delivery) -> None:
    d.wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    time.sleep(0.002)
    d.wire.send(d.right)


def _continue(d: Delivery) -> None:
    d.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" + d.right)


def _no_body(d: Delivery) -> None:
    d.wire.send(f"HTTP/1.1 {d.chance.choice([204, 304])} Nothing\r\n\r\n".encode())
    time.sleep(d.chance.choice([0, 0.002]))
    d.wire.send(whole(d.stale))


def _two_in_one_record(d: Delivery) -> None:
    d.wire.send(d.right + whole(d.stale))


def _two_records(d: Delivery) -> None:
    d.wire.send(d.right, whole(d.stale))


def _at_a_buffers_end(d: Delivery) -> None:
    """Both in one TLS record where they fit; the first ends just where a buffered reader stops to receive."""
    body = d.body if len(d.body) <= MAX_ALIGNED_BYTES else b'{"detail": "too long to be aligned"}'
    head = len(whole(body + b" " * 8192)) - len(body) - 8192
    d.wire.send(whole(body + b" " * (-(head + len(body)) % 8192), d.status) + whole(d.stale)[:4000])


def _half_a_second(d: Delivery) -> None:
    stale = whole(d.stale)
    d.wire.send(d.right, stale[: d.chance.randrange(1, len(stale))])


def _chunked_and_more(d: Delivery) -> None:
    d.wire.send(chunked(d.body) + whole(d.stale))


def _long_body(d: Delivery) -> None:
    d.wire.send(whole(d.body, d.status) + d.stale)


def _early_end(d: Delivery) -> None:
    response = d.right
    d.wire.send(response[: d.chance.randrange(len(response))])
    d.wire.hang_up()


def _reset(d: Delivery) -> None:
    d.wire.send(d.right[: d.chance.randrange(len(d.right))])
    d.wire.reset()


def _short_chunks(d: Delivery) -> None:
    d.wire.send(chunked(d.body)[: -d.chance.randrange(1, 8)])
    d.wire.hang_up()


def _chunk_size(d: Delivery) -> None:
    size = d.chance.choice([b"-5", b"-1", b"x", b"", b"f" * 5000, b"0x5", b"1_0"])
    d.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + d.body + b"\r\n0\r\n\r\n")
    d.wire.hang_up()


def _length(d: Delivery) -> None:
    length = d.chance.choice(["1" * 5000, "-1", "+5", "1_0", "0x10", "", "5, 6", "٣", str(10**13)])
    d.wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + d.body + whole(d.stale))
    d.wire.hang_up()


def _two_lengths(d: Delivery) -> None:
    d.wire.send(whole(d.body, d.status, f"Content-Length: {len(d.body) // 2}") + whole(d.stale))


def _length_and_chunks(d: Delivery) -> None:
    d.wire.send(chunked(d.body).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1) + whole(d.stale))


def _strange_coding(d: Delivery) -> None:
    coding = d.chance.choice([b"gzip, chunked", b"identity", b"chunked, chunked", b"xchunked"])
    d.wire.send(chunked(d.body).replace(b"chunked", coding, 1) + whole(d.stale))
    d.wire.hang_up()


def _garbage(d: Delivery) -> None:
    d.wire.send(d.chance.choice([b"\x00" * 500, b"220 mail ESMTP\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\r\n" + d.right]))
    d.wire.hang_up()


def _bad_gzip(d: Delivery) -> None:
    packed = gzip.compress(d.body)
    packed = d.chance.choice([packed[:-4], packed + packed, d.body, packed[:10] + b"\xff" * 20])
    d.wire.send(whole(packed, d.status, "Content-Encoding: gzip"))


def _good_gzip(d: Delivery) -> None:
    d.wire.send(whole(gzip.compress(d.body), d.status, "Content-Encoding: gzip"))


def _until_the_end(d: Delivery) -> None:
    d.wire.send(b"HTTP/1.0 200 OK\r\n\r\n" + d.body[: d.chance.randrange(len(d.body))])
    d.wire.hang_up()


def _close_and_more(d: Delivery) -> None:
    d.wire.send(whole(d.body, d.status, "Connection: close") + whole(d.stale))


def _silence(d: Delivery) -> None:
    time.sleep(HANG_SECONDS)
    d.wire.send(d.right)


def _drip(d: Delivery) -> None:
    until = time.monotonic() + HANG_SECONDS
    for byte in d.right:
        if time.monotonic() > until:
            break
        d.wire.send(bytes([byte]))
        time.sleep(0.05)


def _late_right(d: Delivery) -> None:
    """Half now, the other half after the client's time-out."""
    d.wire.send(d.right[:-5])
    time.sleep(HANG_SECONDS)
    d.wire.send(d.right[-5:] + whole(d.stale))


FAULTS: tuple[Callable[[Delivery], None], ...] = (
    *(
        _interim,
        _interim_alone,
        _continue,
        _no_body,
        _two_in_one_record,
        _two_records,
        _at_a_buffers_end,
        _half_a_second,
    ),
    *(_chunked_and_more, _long_body, _early_end, _reset, _short_chunks, _chunk_size, _length, _two_lengths),
    *(_length_and_chunks, _strange_coding, _garbage, _bad_gzip, _good_gzip, _until_the_end, _close_and_more),
)
CLEAN = (_continue, _bad_gzip, _good_gzip)
"""After these the connection may carry another request; after all others it must not."""
SLOW_FAULTS = (_silence, _drip, _late_right)


def name_of(fault: Callable[[Delivery], None]) -> str:
    """A fault's name."""
    return fault.__name__.lstrip("_")


@dataclass
class Gateway:
    """Delivers what `answer` gives, as a `Behaviour` of `tests.bad_server.Server`."""

    answer: Callable[[Request], tuple[int, bytes]]
    seed: int
    share: float
    """Of the responses that are delivered badly."""
    slow_share: float = 0.002
    is_bad: bool = True
    played: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    """Faults after which the client sent another request on the same connection; it got the other user's response."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._doubtful: dict[Wire, str] = {}
        self._stale = {"": b'{"detail": "OK", "result": {"timezone": "UTC", "sleep_session_list": []}}'}

    def __call__(self, wire: Wire, request: Request) -> None:
        """Answer one request."""
        status, body = self.answer(request)
        with self._lock:
            owner = request.headers.get("x-user-id") or request.target
            stale = next((found for other, found in self._stale.items() if other != owner), b"{}")
            if status == http.HTTPStatus.OK:
                self._stale = {owner: body, **{k: v for k, v in self._stale.items() if k != owner}}
                self._stale = dict(list(self._stale.items())[:20])
            last_fault = self._doubtful.get(wire, "")
            self.reused[last_fault] += bool(last_fault)
        if last_fault:
            wire.send(whole(stale))
            return
        chance = random.Random(f"{self.seed} {request.number}")  # noqa: S311 repeatable, not secret
        delivery = Delivery(wire, status, body, stale, chance)
        roll = chance.random()
        if not self.is_bad or roll > self.share:
            wire.send(delivery.right)
            return
        fault = chance.choice(SLOW_FAULTS if roll < self.slow_share else FAULTS)
        with self._lock:
            self.played[name_of(fault)] += 1
            if fault not in CLEAN:
                self._doubtful[wire] = name_of(fault)
        fault(delivery)


def forwarding_to(url: str) -> Callable[[Request], tuple[int, bytes]]:
    """Gets the correct response from a server."""
    address = urlsplit(url).netloc

    def answer(request: Request) -> tuple[int, bytes]:
        names = {"x-api-key", "x-user-id", "timezone"} & request.headers.keys()
        with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
            connection.request("GET", request.target, headers={name: request.headers[name] for name in names})
            response = connection.getresponse()
            return response.status, response.read()

    return answer
