"""Faults in how an answer travels: its pace, its framing, what precedes and what follows it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulator.messages import Delivery, Response

if TYPE_CHECKING:
    from simulator.faults import Rule, Target

Effect = Callable[[object, "Rule", "Target", Response], Response]


def slow_drip(_: object, rule: "Rule", __: "Target", response: Response) -> Response:
    """The body comes bit by bit."""
    response.delivery = Delivery("drip", rule.drip_seconds)
    return response


def truncated(_: object, _rule: "Rule", __: "Target", response: Response) -> Response:
    """The connection ends in the middle of the body."""
    response.delivery = Delivery("truncated")
    return response


def late_body(_: object, rule: "Rule", __: "Target", response: Response) -> Response:
    """A status that allows no body, followed by a body."""
    response.status = rule.status or 204
    response.delivery = Delivery("late_body", rule.delay_seconds)
    return response


def interim(_: object, rule: "Rule", __: "Target", response: Response) -> Response:
    """Interim responses precede the response."""
    response.delivery = Delivery(interim=(rule.status or 103,) * rule.repeat)
    return response


def second_response(_: object, _rule: "Rule", __: "Target", response: Response) -> Response:
    """The response, and in the same write another one that belongs to no request."""
    both = _raw(b"content-length: %d" % len(response.body), response.body)
    response.delivery = Delivery("raw", raw=both + _raw(b"content-length: 18", b'{"detail":"STALE"}'))
    return response


def long_content_length(_: object, _rule: "Rule", __: "Target", response: Response) -> Response:
    """A content-length of 5,000 digits."""
    response.delivery = Delivery("raw", raw=_raw(b"content-length: " + b"1" * 5000, response.body))
    return response


def negative_chunk(_: object, _rule: "Rule", __: "Target", response: Response) -> Response:
    """A chunk of negative length."""
    chunks = b"-5\r\n" + response.body + b"\r\n0\r\n\r\n"
    response.delivery = Delivery("raw", raw=_raw(b"transfer-encoding: chunked", chunks))
    return response


def _raw(framing: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + framing + b"\r\n\r\n" + body


TRANSPORT: dict[str, Effect] = {
    each.__name__: each
    for each in (slow_drip, truncated, late_body, interim, second_response, long_content_length, negative_chunk)
}
