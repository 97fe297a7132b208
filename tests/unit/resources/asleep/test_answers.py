"""What an answer of the Asleep API means, judged by status and text."""

import json
from typing import Any

import pytest

from resources.asleep import errors
from resources.asleep.classification import Classification, decode, failed, judge, retry_after_seconds
from resources.rate_limit.limiter import Outcome

ENDPOINTS = ("list_sessions", "read_session", "average_stats", "read_user")


def judged(status: int, answer: Any, endpoint: str = "read_session") -> Classification:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return judge(endpoint, status, body)


def detail(text: Any) -> dict[str, Any]:
    return {"detail": text}


@pytest.mark.parametrize("text", ["OK", "success", None, 7])
def test_a_result_is_taken_whatever_the_text_beside_it(text: Any):
    """The families of the API use different words for success."""
    verdict = judged(200, {"detail": text, "result": {"a": 1}})
    assert verdict == Classification(Outcome.ANSWERED, result={"a": 1})
    assert verdict.label == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>hello</html>",
        b'{"result": {',
        b"\xff\xfe",
        b"[" * 100_000,
        {},
        [],
        {"result": None},
        {"result": []},
        {"detail": "Rate limit exceeded"},
    ],
)
def test_a_success_that_is_none_is_garbled(answer: Any):
    """A proxy's page with status 200 must neither be stored nor taken for an empty list."""
    verdict = judged(200, answer)
    assert isinstance(verdict.error, errors.Malformed)
    assert verdict.is_garbled
    assert verdict.outcome is Outcome.ANSWERED
    assert verdict.error.raw is not None
    assert verdict.error.status == 200


def test_a_huge_answer_is_kept_in_part():
    verdict = judged(200, b"x" * 1_000_000)
    assert verdict.error is not None
    assert len(verdict.error.raw or b"") == 65536


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408])
def test_a_5xx_status_is_unavailable_whatever_its_body(status: int):
    verdict = judged(status, detail("Quota exceeded"))
    assert isinstance(verdict.error, errors.Unavailable)
    assert verdict.outcome is Outcome.BROKEN


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, detail("Rate limit exceeded")),
        (403, detail("RATE LIMIT EXCEEDED for your plan")),
        (403, {"message": "Limit Exceeded"}),
        (403, {"message": "Too Many Requests"}),
        (403, b"rate limit exceeded"),
        (403, b"<html>You are being rate limited</html>"),
        (429, detail("whatever")),
        (429, {"message": "Limit Exceeded"}),
        (429, b""),
    ],
)
def test_throttling_is_recognised_by_its_text(status: int, answer: Any):
    """It shares its status with a spent quota: the one is waited out, the other stops everything."""
    verdict = judged(status, answer)
    assert verdict.outcome is Outcome.THROTTLED
    assert verdict.label == "throttled"
    assert isinstance(verdict.error, errors.Unavailable)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (403, detail("Quota exceeded"), errors.QuotaExceeded),
        (403, detail("quota limit exceeded"), errors.QuotaExceeded),
        (403, detail("Plan is expired"), errors.PlanExpired),
        (403, detail("Plan limit exceeded"), errors.PlanExpired),
        (403, {"message": "Forbidden"}, errors.KeyRejected),
        (403, {"message": "Missing Authentication Token"}, errors.KeyRejected),
        (403, detail("This key is not allowed here"), errors.KeyRejected),
        (401, detail("Unauthorized"), errors.KeyRejected),
        (401, {"message": "Unauthorized"}, errors.KeyRejected),
        (401, b"", errors.KeyRejected),
        (401, detail("x-user-id is invalid"), errors.IdentifierRefused),
        (401, detail("invalid user id"), errors.IdentifierRefused),
        (401, detail("Invalid customer uuid"), errors.IdentifierRefused),
        (400, detail("The format of x-user-id is invalid"), errors.IdentifierRefused),
        (400, detail("The format of sleep session id is wrong"), errors.IdentifierRefused),
        (400, detail("The invalid timezone is provided"), errors.RequestRefused),
        (400, detail("The period should be less than or equal to 100 days"), errors.RequestRefused),
        (422, detail([{"loc": ["query", "limit"], "msg": "user not found"}]), errors.RequestRefused),
        (405, detail("Method Not Allowed"), errors.RequestRefused),
        (403, detail("An explanation that the contract does not have"), errors.RequestRefused),
    ],
)
def test_refusals_by_the_contracts_table(endpoint: str, status: int, answer: Any, kind: type[errors.AsleepError]):
    """Which of them stop the whole run and which only one user is the difference that matters."""
    verdict = judged(status, answer, endpoint)
    assert type(verdict.error) is kind
    assert verdict.outcome is Outcome.ANSWERED
    assert not verdict.is_garbled
    assert verdict.error.status == status


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "text",
    [
        "user does not exist",
        "User not exist",
        "The user requested was not found",
        "Unable to find the user of id G-20260301091502-AbCdEfGhIjKlMnOpQrSt",
    ],
)
def test_a_deleted_user_is_recognised_by_the_text(endpoint: str, text: str):
    verdict = judged(404, detail(text), endpoint)
    assert type(verdict.error) is errors.UserGone
    assert "G-2026" not in str(verdict.error)


@pytest.mark.parametrize("text", ["session does not exist", "Session not found", "session of this user not found"])
def test_a_deleted_session_is_recognised_by_the_text(text: str):
    assert type(judged(404, detail(text)).error) is errors.SessionGone
    assert type(judged(404, detail(text), "read_user").error) is errors.RequestRefused


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "answer",
    [
        detail("Not Found"),
        {"message": "Not Found"},
        {"message": "no Route matched with those values"},
        b"404 page not found",
        b"<html><h1>Not Found</h1>The page the user requested was not found, nor was the session.</html>",
        b"The user requested a page that was not found. " * 20,
        b"",
        {},
        detail(None),
        detail("endpoint of users does not accept GET"),
    ],
)
def test_a_404_of_another_server_is_no_deletion(endpoint: str, answer: Any):
    """A wrong path or a proxy in the way would otherwise erase every user."""
    verdict = judged(404, answer, endpoint)
    assert type(verdict.error) in {errors.RequestRefused, errors.Malformed}


def test_an_html_page_with_403_is_not_the_apis_response():
    """Its text may speak of plans and quotas without meaning ours."""
    verdict = judged(403, b"<html>Upgrade your plan</html>")
    assert type(verdict.error) is errors.Malformed
    assert verdict.is_garbled


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
def test_a_redirect_is_neither_followed_nor_repeated(status: int):
    """Following it would carry the key elsewhere."""
    verdict = judged(status, b"")
    assert type(verdict.error) is errors.Malformed
    assert not verdict.is_garbled


def test_no_answers_text_gets_into_a_message():
    """Answers may name users; messages end up in logs. The raw body is kept apart."""
    for status in (200, 301, 400, 401, 403, 404, 422, 429, 500):
        for endpoint in ENDPOINTS:
            verdict = judged(status, detail("secret-of-user: user not found, invalid user id"), endpoint)
            assert "secret" not in str(verdict.error)
            assert "secret" not in repr(verdict.error)
            assert b"secret" in (verdict.error.raw or b"")


def test_an_exchange_without_an_answer_is_broken_one_that_cannot_be_read_is_garbled():
    assert failed(errors.Unavailable("reset")).outcome is Outcome.BROKEN
    verdict = failed(errors.Malformed("too large"))
    assert (verdict.outcome, verdict.is_garbled, verdict.label) == (Outcome.ANSWERED, True, "malformed")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("86400", 86400),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("9" * 400, None),
        ("Mon, 23 Nov 2026 15:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 14:00:00 GMT", 0),
        ("Mon, 99 Nov 2026 14:00:00 GMT", None),
        ("Mon, 23 Nov 2026 15:00:30 -0000", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_clock(header: str | None, seconds: float | None):
    """Our clock may be wrong by more than the pause."""
    assert retry_after_seconds(header, "Mon, 23 Nov 2026 15:00:00 GMT") == seconds


def test_retry_after_as_a_date_without_the_servers_clock_uses_ours():
    assert retry_after_seconds("Mon, 23 Nov 2020 15:00:00 GMT", None) == 0


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"nope", b"[" * 50_000])
def test_what_is_not_json_is_a_value_error(body: bytes):
    with pytest.raises(ValueError, match=r".*"):
        decode(body)
