"""Keys that clients send, compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence


class KeyRing:
    """The keys that open a door. Holds digests only, so that it cannot leak a key."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key.encode()) for key in keys if key)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def client_of(self, shown: Sequence[str]) -> str | None:
        """A stable short name of the key that was shown, None when it is not valid.

        All keys are compared whatever the first ones say, and digests are compared, not keys: the time taken
        tells neither which key nor how much of one was right.

        Args:
            shown: every value of the header, as the server decoded it (Latin-1); exactly one is expected.
        """
        digest = _digest(shown[0].encode("latin-1", "replace")) if len(shown) == 1 else b""
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:16] if any(matches) else None

    def occurs_in(self, text: str) -> bool:
        """Whether a text is one of the keys: such a text must not be kept."""
        digest = _digest(text.encode("latin-1", "replace"))
        return any(hmac.compare_digest(digest, known) for known in self._digests)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
