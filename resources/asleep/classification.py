"""Decides what a response means, and whether another attempt may help, by section 7 of the contract.

Throttling and a spent quota share status 403 and differ only in their text. A 404 means a deletion only when its text
says so: a proxy's own 404 must not make us drop a user or a session. No text of a response goes into an error's
message, because it may name a user.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from resources.asleep import errors
from resources.asleep.errors import RAW_BYTES_KEPT, AsleepError
from resources.json_decoding import decode
from resources.rate_limit.limiter import Outcome

MAX_MESSAGE = 500
"""A longer body that is not JSON is a page, not a message."""

_THROTTLING = re.compile(r"rate.?limit|too many requests|throttl")
_QUOTA = re.compile(r"\bquotas?\b")
_PLAN = re.compile(r"\bplan\b")
_ANY_LIMIT = re.compile(r"limit exceeded")
_KEY = re.compile(r"\bkey\b|forbidden|unauthori[sz]ed|not authori[sz]ed|access denied|authentication")
_USER_ID = re.compile(r"user.?id\b|customer.?uuid")
_SESSION_ID = re.compile(r"session.?id\b")
_WRONG_FORM = re.compile(r"\bformat\b|\binvalid\b")
_GONE = re.compile(r"\b(does not|not|doesn't) exist|\bnot found\b|unable to find")
_USER = re.compile(r"\busers?\b")
_SESSION = re.compile(r"\bsessions?\b")
_SECONDS = re.compile(r"\d{1,9}(\.\d*)?")
_TIMEZONE = re.compile(r"time.?zone")


@dataclass(frozen=True, slots=True)
class Classification:
    """A result or an error, and what it means for the next attempt."""

    outcome: Outcome
    result: dict[str, Any] | None = field(default=None, repr=False)
    error: AsleepError | None = None
    is_garbled: bool = False
    """True when this was hardly the API's own response, so that another attempt may help."""

    @property
    def label(self) -> str:
        """The outcome as `Attempt` names it."""
        if self.error is None:
            return "ok"
        return "throttled" if self.outcome is Outcome.THROTTLED else self.error.kind


class _Source(Enum):
    API = "the API's own `detail`"
    GATEWAY = "a cloud gateway's `message`"
    PLAIN = "a short text that is not JSON"
    PAGE = "something else, such as a proxy's HTML page"


def judge(endpoint: str, status: int, body: bytes) -> Classification:
    """Decide what a response means.

    Args:
        endpoint: as in `Attempt.endpoint`; decides what a 404 is about.
        status: HTTP status.
        body: as received, decompressed.
    """
    outcome, is_garbled = Outcome.ANSWERED, False
    if 200 <= status < 300:  # noqa: PLR2004
        result = _result_of(body)
        if isinstance(result, dict):
            return Classification(outcome, result=result)
        error, is_garbled = result, True
    elif status >= 500 or status in (408, 425):  # noqa: PLR2004
        outcome, error = Outcome.BROKEN, errors.Unavailable(f"the Asleep API responded with status {status}")
    elif status < 400:  # noqa: PLR2004 a redirect: following it would carry the key to another place
        error = errors.Malformed(f"the Asleep API responded with redirect {status}: check ASLEEP_BASE_URL")
    else:
        source, words = _message_of(body)
        if _is_throttling(status, words):
            outcome = Outcome.THROTTLED
            error = errors.Unavailable("the Asleep API throttled the request for longer than its time-out")
        else:
            error = _refusal(endpoint, status, source, words)
            is_garbled = isinstance(error, errors.Malformed)
    error.status, error.raw = status, body[:RAW_BYTES_KEPT]
    return Classification(outcome, error=error, is_garbled=is_garbled)


def failed(error: Exception) -> Classification:
    """Judge an attempt without a response that can be read: whatever was raised is this request's error alone."""
    if isinstance(error, errors.Unavailable):
        return Classification(Outcome.BROKEN, error=error)
    if not isinstance(error, AsleepError):
        error = errors.Malformed(f"the response could not be read ({type(error).__name__})")
    return Classification(Outcome.ANSWERED, error=error, is_garbled=isinstance(error, errors.Malformed))


def is_of_the_api(body: bytes) -> bool:
    """True for the envelope of the contract, errors included, and for a cloud gateway's own message about the key."""
    try:
        content = decode(body)
    except ValueError:
        return False
    return isinstance(content, dict) and not {"result", "detail", "message", "Message"}.isdisjoint(content)


def retry_after_seconds(retry_after: str | None, date: str | None) -> float | None:
    """The pause that a response demands.

    Args:
        retry_after: header `Retry-After`, seconds or an HTTP date.
        date: header `Date`: `Retry-After` is by the server's clock.
    """
    if retry_after is None:
        return None
    if _SECONDS.fullmatch(retry_after.strip()):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _result_of(body: bytes) -> dict[str, Any] | AsleepError:
    try:
        content = decode(body)
    except ValueError:
        return errors.Malformed("the Asleep API responded with something that is not JSON")
    result = content.get("result") if isinstance(content, dict) else None
    return (
        result if isinstance(result, dict) else errors.Malformed("the Asleep API responded without a `result` object")
    )


def _message_of(body: bytes) -> tuple[_Source, str]:
    """The author of an error, and its text in lower case."""
    try:
        content = decode(body)
    except ValueError:
        plain = body[: MAX_MESSAGE + 1].decode("utf-8", "replace").strip().lower()
        is_page = not plain or plain.startswith("<") or len(body) > MAX_MESSAGE
        return (_Source.PAGE if is_page else _Source.PLAIN), plain
    if isinstance(content, dict):
        if isinstance(content.get("detail"), str):
            return _Source.API, content["detail"].lower()
        message = content.get("message", content.get("Message"))
        if isinstance(message, str):
            return _Source.GATEWAY, message.lower()
    return _Source.PLAIN, body[:MAX_MESSAGE].decode("utf-8", "replace").lower()


def _is_throttling(status: int, words: str) -> bool:
    if status == 429:  # noqa: PLR2004
        return True
    if status != 403:  # noqa: PLR2004
        return False
    if _THROTTLING.search(words):
        return True
    return bool(_ANY_LIMIT.search(words)) and not _QUOTA.search(words) and not _PLAN.search(words)


def _refusal(endpoint: str, status: int, source: _Source, words: str) -> AsleepError:
    if status == 401:  # noqa: PLR2004
        is_about_user = _USER_ID.search(words) and _WRONG_FORM.search(words)
        return errors.IdentifierRefused() if is_about_user else errors.KeyRejected()
    if status == 403:  # noqa: PLR2004
        return _forbidden(source, words)
    if status == 404:  # noqa: PLR2004
        return _not_found(endpoint, source, words)
    if status == 400 and _WRONG_FORM.search(words):  # noqa: PLR2004
        if _USER_ID.search(words) or _SESSION_ID.search(words):
            return errors.IdentifierRefused()
        if _TIMEZONE.search(words):
            return errors.RequestRefused("the Asleep API does not accept the time zone")
    return errors.RequestRefused(f"the Asleep API refused the request with status {status}")


def _forbidden(source: _Source, words: str) -> AsleepError:
    if source is _Source.PAGE:
        return errors.Malformed("a proxy or gateway returned 403 with a page of its own")
    if _QUOTA.search(words):
        return errors.QuotaExceeded()
    if _PLAN.search(words):
        return errors.PlanExpired()
    if source is _Source.GATEWAY or _KEY.search(words):
        return errors.KeyRejected()
    return errors.RequestRefused("the Asleep API forbids the request, for a reason that its contract does not name")


def _not_found(endpoint: str, source: _Source, words: str) -> AsleepError:
    """A deletion only if the text says so: a wrong path or a proxy returns `Not Found` as well."""
    if source is _Source.PAGE:
        return errors.Malformed("a proxy or gateway returned 404 with a page of its own")
    if _GONE.search(words):
        if endpoint == "read_session" and _SESSION.search(words):
            return errors.SessionGone()
        if _USER.search(words) and not _SESSION.search(words):
            return errors.UserGone()
    return errors.RequestRefused("the Asleep API returned 404 without naming the user or session as gone")
