"""Signatures over raw bodies: HMAC-SHA256 with a shared secret, in hexadecimal."""

import hashlib
import hmac

_PREFIX = b"sha256="


def sign(secret: str, body: bytes) -> str:
    """The header value that proves that a holder of the secret wrote this body.

    Args:
        secret: shared with the receiver.
        body: the bytes sent.
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(secret: str, body: bytes, signature: bytes) -> bool:
    """Whether a signature belongs to a body, in constant time; with or without `sha256=`, any case.

    Args:
        secret: shared with the sender.
        body: the bytes received.
        signature: the header's value.
    """
    given = signature.strip().lower().removeprefix(_PREFIX)
    return hmac.compare_digest(sign(secret, body).encode(), _PREFIX + given)
