"""Short names for users that are safe in logs, run config and UI metadata.

A pseudonym is keyed: it cannot be computed from a list of user ids without the key. The key lies in the table
`asleep.pseudonym_key`, which only the owner and the pipeline can read; SQL computes the same with `asleep.pseudonym()`.
"""

import hashlib
import os
from typing import NamedTuple


class PseudonymKey(NamedTuple):
    """The key of HMAC-SHA256, as its two 64-byte blocks."""

    inner: bytes
    outer: bytes


def new_key() -> PseudonymKey:
    """A random key."""
    key = os.urandom(32).ljust(64, b"\0")
    return PseudonymKey(bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key))


_key = new_key()
"""Of this process, until the database's is loaded: a pseudonym is never computed without a key."""


def use_key(key: PseudonymKey) -> None:
    """From now on this process computes the pseudonyms of one database."""
    global _key  # noqa: PLW0603 one key for each process, loaded once
    _key = key


def pseudonym(user_id: str) -> str:
    """The first 16 hexadecimal digits of HMAC-SHA256 over the id's UTF-8 bytes."""
    inner = hashlib.sha256(_key.inner + user_id.encode()).digest()
    return hashlib.sha256(_key.outer + inner).hexdigest()[:16]
