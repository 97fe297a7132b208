"""Short names for users that are safe in logs, run config and UI metadata."""

import hashlib


def pseudonym(user_id: str) -> str:
    """A stable short name for a user that is safe in logs, run config and UI metadata.

    The first 16 hexadecimal digits of SHA-256 over the id's UTF-8 bytes; SQL can compute the same with
    `left(encode(sha256(convert_to(user_id, 'UTF8')), 'hex'), 16)`.
    """
    return hashlib.sha256(user_id.encode()).hexdigest()[:16]
