"""Reads bodies from clients that may mean harm: too large, too many, too slow, cut off, too deep, compressed bombs."""

import asyncio
import gzip
import io
import zlib
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from pipelines.service.http.http_errors import RETRY_SECONDS, Refused

_CLOSE = {"connection": "close"}
_GZIP = b"\x1f\x8b"
_SWALLOWED_BYTES = 4 * 1024 * 1024
"""Read beyond the limit and thrown away, so that a client that is still sending receives the refusal."""


class BodyMemory:
    """The memory that bodies still arriving take in one worker."""

    def __init__(self, limit_bytes: int) -> None:
        self._free_bytes = limit_bytes

    def take(self, size: int) -> None:
        """Count bytes that have arrived; raises `Refused` when too many bodies arrive at once."""
        if size > self._free_bytes:
            reason = "Too many bodies arrive at once; try again."
            raise Refused(503, reason, outcome="too_many_bodies", retry_after=RETRY_SECONDS, headers=_CLOSE)
        self._free_bytes -= size

    def give_back(self, size: int) -> None:
        """A body is complete, or refused."""
        self._free_bytes += size


async def read_body(request: Request, *, limit_bytes: int, seconds: float, memory: BodyMemory) -> bytes:
    """The whole body, counted while reading: a declared length may be false.

    Args:
        request: whose body.
        limit_bytes: the most that it may have.
        seconds: the most that it may take.
        memory: shared by all bodies that arrive.

    Raises:
        Refused: it is too large, took too long or was cut off, or too many arrive at once.
    """
    too_large = _too_large(limit_bytes)
    if _declared_bytes(request) > limit_bytes + _SWALLOWED_BYTES:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit_bytes + _SWALLOWED_BYTES:
                    raise too_large
                if size <= limit_bytes:
                    memory.take(len(part))
                    parts.append(part)
        if size > limit_bytes:
            raise too_large
        return b"".join(parts)
    except TimeoutError:
        raise Refused(408, "The body took too long to arrive.", outcome="too_slow", headers=_CLOSE) from None
    except ClientDisconnect:
        raise Refused(400, "The body was cut off.", outcome="cut_off") from None
    finally:
        memory.give_back(sum(map(len, parts)))


def decompressed(body: bytes, *, limit_bytes: int) -> bytes:
    """The content of a gzip body; any other body as it is. JSON never begins like gzip, so no header is needed.

    Args:
        body: as received.
        limit_bytes: the most that the content may have.

    Raises:
        Refused: the content is too large, or it is not whole.
    """
    if not body.startswith(_GZIP):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(limit_bytes + 1)
    except (OSError, EOFError, zlib.error):
        raise Refused(400, "The body is not whole gzip.", outcome="not_gzip") from None
    if len(content) > limit_bytes:
        raise _too_large(limit_bytes)
    return content


def _too_large(limit_bytes: int) -> Refused:
    detail = f"The body may have at most {limit_bytes} bytes."
    return Refused(413, detail, outcome="too_large", headers=_CLOSE)


def is_deeper_than(levels: int, value: object) -> bool:
    """Whether more than `levels` objects and lists lie one within the other; found level by level, not by recursion.

    Args:
        levels: how many are allowed.
        value: decoded JSON.
    """
    containers: list[Any] = [value]
    for _ in range(levels):
        inner = (each for outer in containers for each in (outer.values() if isinstance(outer, dict) else outer))
        containers = [each for each in inner if isinstance(each, dict | list)]
    return bool(containers)


def _declared_bytes(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and declared.isascii() else 0
