"""Errors of the Asleep API, by what the caller should do about them.

AsleepError
├── Rejected               the account is refused: stop the whole run, retry nothing
│   ├── KeyRejected        401: the key is wrong or was replaced
│   ├── QuotaExceeded      403 `Quota exceeded`
│   ├── PlanExpired        403 `Plan is expired`
│   ├── OnlyInterimResponses  a gateway puts an interim response before every response
│   └── NoContact          the API has never responded from this address
├── RequestRefused         400, 422: this one request is wrong, others may be right
│   └── IdentifierRefused  the form of a user id or session id is not accepted
├── Gone                   404
│   ├── UserGone           the user was deleted at the source
│   └── SessionGone        the session was deleted at the source
├── Unavailable            5xx, time-outs, resets, throttled for too long, circuit open: a later attempt may succeed
└── Malformed              a response that is not the contract's: needs a human; the raw body is kept
    └── InterimResponse    a gateway sent an interim response (102, 103) before the response
"""

RAW_BYTES_KEPT = 64 * 1024
"""Of a response's body, kept with an error for people to look at."""


class AsleepError(Exception):
    """A request to the Asleep API failed."""

    kind = "error"
    stops_everything = False
    """True when every other request would fail, too."""

    def __init__(self, message: str = "", *, status: int | None = None, raw: bytes | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.status = status
        self.raw = raw
        """The response's body as received, cut. Never part of the message: it may hold health data."""


class Rejected(AsleepError):
    """The Asleep API refuses this account: no request can succeed until that is fixed."""

    kind = "rejected"
    stops_everything = True


class KeyRejected(Rejected):
    """The Asleep API does not accept the key: check ASLEEP_API_KEY (the first one in it is used to call)."""

    kind = "key_rejected"


class QuotaExceeded(Rejected):
    """The quota at the Asleep API is used up: raise it or wait for the next period, then sync again."""

    kind = "quota_exceeded"


class PlanExpired(Rejected):
    """The plan at the Asleep API has expired: renew it in the Asleep dashboard, then sync again."""

    kind = "plan_expired"


class OnlyInterimResponses(Rejected):
    """A gateway puts interim responses (such as HTTP 103) before all others: switch them off for ASLEEP_BASE_URL."""

    kind = "interim_responses"


class NoContact(Rejected):
    """The Asleep API has never responded from this address, and does not now."""

    kind = "no_contact"


class RequestRefused(AsleepError):
    """The Asleep API refused this request as wrong."""

    kind = "request_refused"


class IdentifierRefused(RequestRefused):
    """The Asleep API does not accept the form of this identifier."""

    kind = "identifier_refused"


class Gone(AsleepError):
    """The object no longer exists at the source."""

    kind = "gone"


class UserGone(Gone):
    """The user no longer exists at the source."""

    kind = "user_gone"


class SessionGone(Gone):
    """The session no longer exists at the source."""

    kind = "session_gone"


class Unavailable(AsleepError):
    """The Asleep API did not respond; a later attempt may succeed."""

    kind = "unavailable"


class Malformed(AsleepError):
    """The response is not one that the contract of the Asleep API allows."""

    kind = "malformed"


class InterimResponse(Malformed):
    """A gateway sent an interim response before the response, so the connection was closed and the response lost."""
