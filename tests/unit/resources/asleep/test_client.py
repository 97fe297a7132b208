"""Which questions are put to the API, and which answers are accepted."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest
from asleep_answers import SESSION, USER, averages_result, list_row, session_result, user_result

from resources.asleep.client import AsleepClient
from resources.asleep.errors import IdentifierRefused, Malformed
from resources.asleep.http.http_client import HttpResponse
from resources.asleep.transport import Transport
from tests.unlimited import Unlimited

DAY, NEXT_DAY = date(2026, 3, 7), date(2026, 3, 8)


class Api:
    """Answers every question with the same result and keeps the questions."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []

    def get(
        self,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        before_sending: Callable[[], None] = lambda: None,
        sent: Callable[[], None] = lambda: None,
        **_: object,
    ) -> HttpResponse:
        """Note the question."""
        before_sending()
        sent()
        self.requests.append((path, dict(params), dict(headers)))
        return HttpResponse(200, json.dumps({"detail": "OK", "result": self.result}).encode())


def client_of(api: Api) -> AsleepClient:
    return AsleepClient(Transport(Unlimited(), api))


def test_a_page_is_requested_in_utc_and_oldest_first():
    """Any other zone would move sessions to other dates; any other order would let pages shift."""
    api = Api({"timezone": "UTC", "sleep_session_list": [list_row()]})
    (row,) = client_of(api).list_page(USER, DAY, NEXT_DAY, offset=40, limit=7)
    assert row.session_id == SESSION
    assert api.requests == [
        (
            "/data/v1/sessions",
            {"date_gte": "2026-03-07", "date_lte": "2026-03-08", "order_by": "ASC", "offset": "40", "limit": "7"},
            {"x-user-id": USER, "timezone": "UTC"},
        )
    ]


def test_a_list_is_requested_in_the_largest_pages():
    api = Api({"timezone": "UTC", "sleep_session_list": []})
    listed = client_of(api).list_sessions(USER, DAY, NEXT_DAY)
    assert (listed.rows, listed.requests) == ((), 1)
    assert api.requests[0][1]["limit"] == "100"


def test_a_session_is_requested_by_user_and_id():
    api = Api(session_result())
    session = client_of(api).read_session(USER, SESSION)
    assert (session.session_id, session.user_id) == (SESSION, USER)
    assert api.requests == [(f"/data/v3/sessions/{SESSION}", {}, {"x-user-id": USER, "timezone": "UTC"})]


def test_another_session_than_requested_is_malformed():
    """A cache in the way that mixes answers up must not mix up nights."""
    with pytest.raises(Malformed) as caught:
        client_of(Api(session_result())).read_session(USER, "20260101000000_aaaaa")
    assert SESSION not in str(caught.value)
    assert caught.value.raw


def test_averages_are_requested_by_user_and_days():
    api = Api(averages_result())
    stats = client_of(api).average_stats(USER, DAY, NEXT_DAY)
    assert len(stats.slept) == 1
    assert api.requests == [
        (
            f"/data/v1/users/{USER}/average-stats",
            {"start_date": "2026-03-07", "end_date": "2026-03-08"},
            {"timezone": "UTC"},
        )
    ]


def test_averages_cover_at_most_100_dates():
    """Whether the API takes 101 is unknown; a refused request would be a program error."""
    api = Api(averages_result())
    client_of(api).average_stats(USER, date(2026, 1, 1), date(2026, 4, 10))
    with pytest.raises(ValueError, match="100"):
        client_of(api).average_stats(USER, date(2026, 1, 1), date(2026, 4, 11))
    with pytest.raises(ValueError, match="100"):
        client_of(api).average_stats(USER, NEXT_DAY, DAY)
    assert len(api.requests) == 1


def test_a_profile_is_requested_by_user():
    api = Api(user_result())
    assert client_of(api).read_user(USER).user_id == USER
    assert api.requests == [(f"/ai/v1/users/{USER}", {}, {})]


def test_an_identifier_stays_one_piece_of_the_path():
    """An id is opaque: whatever it holds, it must not become another path or a query."""
    odd = "a/../b?c=d#e%2F é"
    api = Api(session_result() | {"session": session_result()["session"] | {"id": odd}})
    assert client_of(api).read_session(USER, odd).session_id == odd
    assert api.requests[0][0] == "/data/v3/sessions/a%2F..%2Fb%3Fc%3Dd%23e%252F%20%C3%A9"


@pytest.mark.parametrize(
    "bad", ["", ".", "..", " G-1", "G-1 ", "G-1\r\nx-evil: 1", "G\x00", "G\x7f", "Ж", "\ud800", "a\u00a0"]
)
def test_an_identifier_that_cannot_be_sent_unchanged_is_refused_without_a_request(bad: str):
    """It would be stripped, resolved or split on its way: another user's data would come back, or worse."""
    api = Api({})
    client = client_of(api)
    for ask in (
        lambda: client.list_page(bad, DAY, DAY, offset=0),
        lambda: client.list_sessions(bad, DAY, DAY),
        lambda: client.read_session(bad, SESSION),
        lambda: client.read_session(USER, bad),
        lambda: client.average_stats(bad, DAY, DAY),
        lambda: client.read_user(bad),
    ):
        with pytest.raises(IdentifierRefused):
            ask()
    assert api.requests == []
