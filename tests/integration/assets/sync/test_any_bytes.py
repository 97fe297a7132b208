"""Whatever bytes the API sends: rows that Postgres takes, or failures on record; never an error that stops the run."""

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from assets.sync.api_requests import send
from assets.sync.scheduler import Sync, drive
from assets.sync.statistics_sync import StatisticsSync
from assets.sync.user_steps import UserOutcome
from assets.sync.user_sync import ListSync
from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import Rejected
from resources.asleep.http.http_client import HttpResponse
from resources.asleep.transport import RetryPolicy, Transport
from resources.database.sync.sync_state import SyncState, UserToSync
from resources.database.sync.upsert import upsert_sessions
from resources.database.users.registry import Registry
from tests.unit.resources.asleep.asleep_answers import (
    SESSION,
    USER,
    averages_result,
    list_row,
    session_result,
    user_result,
)
from tests.unlimited import Unlimited

ONCE = RetryPolicy(broken_attempts=1, garbled_attempts=1)
WINDOW = Window.of_days(date(2026, 3, 7), date(2026, 3, 8))
NOW = datetime(2026, 3, 9, tzinfo=UTC)
RIGHT: dict[str, Callable[[], Any]] = {
    "/data/v1/sessions": lambda: {"timezone": "UTC", "sleep_session_list": [list_row()]},
    f"/data/v3/sessions/{SESSION}": session_result,
    f"/data/v1/users/{USER}/average-stats": averages_result,
    f"/ai/v1/users/{USER}": user_result,
}
NASTY = st.sampled_from(
    [
        *(
            None,
            True,
            "",
            "x" * 600,
            "\x00",
            "a\tb\\N\n",
            "\ud800",
            "NaN",
            {},
            [],
            [[]],
            {"": None},
            -1,
            0.5,
            1e308,
            10**40,
        ),
        *(2**31, -(2**31) - 1, 2**63, 5e-324, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-03-07"),
        *("2026-03-07T24:00:00+00:00", "2026-03-07T14:02:11.123456789+00:00", "2026-W10-6T00:00:00Z", "25:00:00"),
        *("Asia/Seoul", "../../etc/passwd", "/etc/passwd", "GMT+99:99", "posix/UTC", "asia/seoul ", "Etc/GMT+14"),
        *(
            [None],
            [-(2**15) - 1],
            [2**15],
            [1.5],
            ["1"],
            [10**30],
            [True],
            {"id": SESSION},
            [{}] * 3,
            [{"id": SESSION}] * 2,
        ),
        *(
            float("nan"),
            float("inf"),
            "\ufb00",
            "\u0663",
            "\uff12\uff10\uff12\uff16-03-07",
            "\u202e",
            "\U0001f600" * 300,
        ),
    ]
)
TEXTS = st.text(st.characters(), max_size=12)
VALUES = NASTY | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value; of long arrays the first few."""
    inner = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value[:3]))
        if isinstance(value, list)
        else []
    )
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@st.composite
def bodies(draw: st.DrawFn, result: Any) -> bytes:
    """A response's body: right but for a few places, and sometimes for a few bytes."""
    envelope: Any = {"detail": "OK", "result": copy.deepcopy(result)}
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(envelope)))
        if not path:
            envelope = copy.deepcopy(draw(VALUES))
            continue
        holder = envelope
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = copy.deepcopy(draw(VALUES))
        if isinstance(holder, dict) and draw(st.booleans()):
            holder[draw(TEXTS)] = copy.deepcopy(draw(VALUES))
    body = bytearray(json.dumps(envelope).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2)) if draw(st.booleans()) else 0):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        body[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3) | st.sampled_from([b"[" * 3000, b"9" * 5000])
        )
    return bytes(body)


class Api:
    """Answers each path with the bytes and the status that were drawn for it."""

    def __init__(self, replies: dict[str, tuple[int, bytes]]) -> None:
        self.replies = replies

    def get(
        self, path: str, *_: Any, before_sending: Callable[[], None], sent: Callable[[], None], **__: object
    ) -> HttpResponse:
        """Answer."""
        before_sending()
        sent()
        status, body = self.replies[path]
        return HttpResponse(status, body, retry_after=body[:9].decode("latin-1"), date=body[9:40].decode("latin-1"))


REPLIES = st.fixed_dictionaries(
    {
        path: st.tuples(st.sampled_from([200] * 12 + [204, 302, 401, 403, 404, 422, 500]), bodies(result()))
        for path, result in RIGHT.items()
    }
)


@pytest.fixture
def registered(connection: Connection) -> Connection:
    """A connection to a database in which the user is registered; undone at the end."""
    Registry(connection).add([(USER, None)])
    return connection


@pytest.mark.parametrize("steps", [ListSync, StatisticsSync, partial(StatisticsSync, reads_in_full=True)])
@given(replies=REPLIES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_become_rows_or_failures(registered: Connection, steps: Any, replies: dict[str, tuple[int, bytes]]):
    """One user's strange payload once stopped the sync of all others."""
    outcome = UserOutcome(UserToSync(USER, False, (), (), None, None), WINDOW)
    client = AsleepClient(Transport(Unlimited(), Api(replies), retry_policy=ONCE, sleep=lambda _: None))
    sync = Sync(outcome, steps(outcome).steps())
    responses = 0
    with suppress(Rejected):
        for progress in drive(iter([sync]), partial(send, client, now=lambda: NOW), workers=1):
            responses += progress is not None
        assert responses
    with registered.begin_nested() as savepoint:
        upsert_sessions(registered, outcome.rows)
        SyncState(registered).record_failures(outcome.failures)
        savepoint.rollback()
