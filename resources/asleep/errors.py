"""Errors of the Asleep API, by what the caller should do about them; docstrings are the messages.

`Rejected` stops the whole run. `RequestRefused` concerns this one request, `Gone` one user or session. After
`Unavailable` a later attempt may succeed. `Malformed` needs a human, and keeps the raw body.
"""

import re

RAW_BYTES_KEPT = 64 * 1024
"""Of a response's body, kept with an error for people to look at."""


class AsleepError(Exception):
    """A request to the Asleep API failed."""

    kind: str
    """The name of the class, in lower case: `key_rejected`."""
    stops_everything = False
    """True when every other request would fail, too."""

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__dict__.get("kind") or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str = "", *, status: int | None = None, raw: bytes | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.status = status
        self.raw = raw
        """The response's body as received, cut. Never part of the message: it may hold health data."""


class Rejected(AsleepError):
    """The Asleep API refuses this account: no request can succeed until that is fixed."""

    stops_everything = True


class KeyRejected(Rejected):
    """The Asleep API does not accept the key: check ASLEEP_API_KEY (the first one in it is used to call)."""


class QuotaExceeded(Rejected):
    """The quota at the Asleep API is used up: raise it or wait for the next period, then sync again."""


class PlanExpired(Rejected):
    """The plan at the Asleep API has expired: renew it in the Asleep dashboard, then sync again."""


class OnlyInterimResponses(Rejected):
    """A gateway puts interim responses (such as HTTP 103) before all others: switch them off for ASLEEP_BASE_URL."""

    kind = "interim_responses"


class NoContact(Rejected):
    """The Asleep API has never responded from this address, and does not now."""


class RequestRefused(AsleepError):
    """The Asleep API refused this request as wrong."""


class IdentifierRefused(RequestRefused):
    """The Asleep API does not accept the form of this identifier."""


class Gone(AsleepError):
    """The object no longer exists at the source."""


class UserGone(Gone):
    """The user no longer exists at the source."""


class SessionGone(Gone):
    """The session no longer exists at the source."""


class Unavailable(AsleepError):
    """The Asleep API did not respond; a later attempt may succeed."""


class Malformed(AsleepError):
    """The response is not one that the contract of the Asleep API allows."""


class InterimResponse(Malformed):
    """A gateway sent an interim response before the response, so the connection was closed and the response lost."""

    kind = Malformed.kind
