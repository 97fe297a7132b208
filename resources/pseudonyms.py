"""Short names for users that are safe in logs, run config and UI metadata.

A pseudonym is keyed: it cannot be computed from a list of user ids without the key. The key lies in the table
`asleep.pseudonym_key`, which only the owner and the pipeline can read; SQL computes the same with `asleep.pseudonym()`.
"""

import hmac
import os

_key = os.urandom(32)
"""Of this process, until the database's is loaded: a pseudonym is never computed without a key."""


def use_key(key: bytes) -> None:
    """From now on this process computes the pseudonyms of one database."""
    global _key  # noqa: PLW0603 one key for each process, loaded once
    _key = key


def pseudonym(user_id: str) -> str:
    """The first 16 hexadecimal digits of HMAC-SHA256 over the id's UTF-8 bytes."""
    return hmac.digest(_key, user_id.encode(), "sha256").hex()[:16]
