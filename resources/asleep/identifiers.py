"""Which user and session ids can be sent to the API and stored here."""

MAX_ID_LENGTH = 500  # characters; of every id, wherever it comes in


def can_be_sent(identifier: str) -> bool:
    """Whether an id means the same in a path, in a header and at the other end.

    Blanks at its ends would be stripped on the way, `..` would be resolved, and another user's data would come back. A
    header holds Latin-1 only.
    """
    if not identifier.isprintable() or identifier.strip() != identifier or identifier in {"", ".", ".."}:
        return False
    return len(identifier) <= MAX_ID_LENGTH and max(identifier) <= "\xff"
