"""One length for ids, wherever they come in: what one way in accepts, every way out must find."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from serving import KEY, READ_KEY, Service, served
from sqlalchemy import Engine, text

from assets.webhooks.process_events import EventHandler
from pipelines.cli.user_file import UserFileInvalid, read_users
from resources.asleep.errors import Malformed
from resources.asleep.identifiers import MAX_ID_LENGTH
from resources.asleep.parsing import parse_session_result
from resources.database.service.inbox import Inbox
from resources.database.users.registry import Registry
from tests.unit.resources.asleep.asleep_answers import session_result

MAX_USER = "G-" + "u" * (MAX_ID_LENGTH - 2)


def session_id(number: int, length: int = MAX_ID_LENGTH) -> str:
    """An id of this length."""
    return f"{number}".rjust(length, "s")


@pytest.fixture(scope="module")
def service(serve_app: Callable[..., Service], database_url: str) -> Service:
    return serve_app(served(database_url, enable_webhooks=True, api_keys=(KEY,), service_api_keys=(READ_KEY,)))


def result(name: str, hours_ago: int = 9) -> dict[str, Any]:
    """A session with this id that has just been finished: only news is stored as an event tells it."""
    found = session_result()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours_ago)
    times = {"start_time": start.isoformat(), "end_time": (start + timedelta(minutes=40)).isoformat()}
    found["session"] |= {"id": name, **times}
    return found


def send(service: Service, engine: Engine, user_id: str, name: str, hours_ago: int = 9) -> None:
    """An event arrives at the service and is handled."""
    body = {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user_id, **result(name, hours_ago)}}
    assert service.event(orjson.dumps(body)).status_code == 200
    with engine.begin() as connection:
        taken = Inbox(connection).take(10)
    no_client: Any = None
    EventHandler(engine, no_client, "a run", 1).store(taken)


def test_the_longest_id_passes_every_way_in_and_every_way_out(service: Service, engine: Engine):
    """A session of a user with a long id was stored, and the read API refused to show it."""
    with engine.begin() as connection:
        Registry(connection).add(read_users(f"user_id\n{MAX_USER}\n".encode()).users)
    for hours_ago in (8, 7):
        send(service, engine, MAX_USER, session_id(hours_ago), hours_ago)

    with engine.connect() as connection:
        stored = connection.execute(text("SELECT user_id, session_id FROM asleep.sleep_sessions ORDER BY 2")).all()
    assert stored == [(MAX_USER, session_id(7)), (MAX_USER, session_id(8))]
    assert service.get(f"/api/sessions/{session_id(7)}", READ_KEY).json()["session_id"] == session_id(7)
    first = service.get(f"/api/users/{quote(MAX_USER)}/sessions", READ_KEY, limit=1).json()
    second = service.get(f"/api/users/{MAX_USER}/sessions", READ_KEY, limit=1, cursor=first["next_cursor"]).json()
    assert [page["sessions"][0]["session_id"] for page in (first, second)] == [session_id(7), session_id(8)]


def test_one_character_more_is_refused_by_every_way_in_and_every_way_out(service: Service, engine: Engine):
    """Stored by one of them, it would be lost to the others."""
    user, session = MAX_USER + "u", session_id(9, MAX_ID_LENGTH + 1)
    with pytest.raises(UserFileInvalid):
        read_users(f"user_id\n{user}\n".encode())
    with pytest.raises(Malformed):
        parse_session_result(result(session), user_id=MAX_USER, asked_at=datetime.now(UTC))
    send(service, engine, MAX_USER, session)
    send(service, engine, user, session_id(10))
    assert service.get(f"/api/sessions/{session}", READ_KEY).status_code == 422
    assert service.get(f"/api/users/{user}/sessions", READ_KEY).status_code == 422

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT max(length(session_id)) FROM asleep.sleep_sessions")) <= MAX_ID_LENGTH
        assert connection.scalar(text("SELECT max(length(user_id)) FROM asleep.users")) <= MAX_ID_LENGTH
