"""Orchestrators act on these answers: they must be true, quick and free of secrets."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import requests
from pydantic import SecretStr
from serving import KEY, Service, await_truth, free_port, frozen, served
from sqlalchemy import Engine, text

from pipelines.service.database_watch import DatabaseWatch
from pipelines.service.health import HEALTH_SECONDS
from pipelines.settings import Settings
from resources.embedded_postgres.server import EmbeddedPostgres
from tests.listener import Listener, listening

NOWHERE = "postgresql://asleep:database-password@127.0.0.1:{port}/nowhere"


def _ignore(*_: object) -> None:
    """Counts and times of requests."""


@pytest.fixture(scope="module")
def away(serve_app: Callable[..., Service]) -> Service:
    """A service whose database is not there."""
    return serve_app(served(NOWHERE.format(port=free_port()), api_keys=(KEY,), service_api_keys=("read",)))


def test_a_service_without_its_database_lives_but_is_not_ready(away: Service):
    """Restarting it would not help; sending it traffic would not either."""
    assert away.get("/live").status_code == 200
    assert away.get("/ready").status_code == 503
    answer = away.get("/health")
    assert answer.status_code == 503
    assert answer.json()["dependencies"]["database"]["state"] == "down"


def test_an_event_is_refused_while_the_database_is_away(away: Service):
    """503 makes the sender try again; 200 would lose the event."""
    answer = away.event(b"{}")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert list(answer.json()) == ["detail"]


def test_a_question_is_refused_while_the_database_is_away(away: Service):
    """JSON, and when to come back."""
    answer = away.get("/api/users/G-1/sessions", "read")
    assert (answer.status_code, list(answer.json())) == (503, ["detail"])


def test_no_answer_holds_a_secret(away: Service):
    """Health is read by people and machines that may not know the database's password."""
    for path in ("/live", "/ready", "/health", "/openapi.json", "/nowhere"):
        text_of_answer = away.get(path).text
        assert "database-password" not in text_of_answer
        assert KEY not in text_of_answer
        assert "127.0.0.1" not in text_of_answer


def test_health_names_each_dependency(serve_app: Callable[..., Service], database_url: str, engine: Engine):
    """What is wrong must be readable at a glance."""
    gauges: dict[str, float] = {}
    options = served(
        database_url,
        api_keys=(KEY,),
        statsd=SimpleNamespace(gauge=gauges.__setitem__, increment=_ignore, timing=_ignore),
    )
    with engine.begin() as connection:
        row = "INSERT INTO asleep.rate_limits (key_id, requests_per_second, circuit) VALUES ('k', 40, 'open')"
        connection.execute(text(row))
    service = serve_app(options)
    await_truth(lambda: service.get("/ready").status_code == 200)
    health = service.get("/health")
    assert health.status_code == 200
    assert health.json()["state"] == "degraded"
    dependencies = health.json()["dependencies"]
    assert dependencies["database"]["state"] == dependencies["schema"]["state"] == "up"
    assert dependencies["inbox"] == {"state": "up", "waiting": 0, "oldest_seconds": 0, "parked": 0}
    api = {"state": "degraded", "circuit": "open", "circuit_open": 1, "requests_per_second": 40}
    assert dependencies["asleep_api"] == api
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.webhook_events (body_hash, headers, body, processed_at, error) "
                "VALUES ('', '{}', '', now(), 'names nobody')"
            )
        )
    await_truth(lambda: service.get("/health").json()["dependencies"]["inbox"]["state"] == "degraded")
    assert gauges["asleep_sync.inbox.parked"] == 1


def test_a_database_of_another_version_is_not_ready(
    serve_app: Callable[..., Service], database_url: str, engine: Engine
):
    """During an upgrade the new program waits for the migration."""
    service = serve_app(served(database_url, api_keys=(KEY,)))
    await_truth(lambda: service.get("/ready").status_code == 200)
    with engine.begin() as connection:
        current = connection.scalar(text("SELECT version_num FROM asleep.alembic_version"))
        connection.execute(text("UPDATE asleep.alembic_version SET version_num = '0010'"))
    try:
        await_truth(lambda: service.get("/ready").status_code == 503)
        schema = service.get("/health").json()["dependencies"]["schema"]
        assert schema["state"] == "down"
        assert "asleep-sync migrate" in schema["reason"]
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE asleep.alembic_version SET version_num = :it"), {"it": current})
    await_truth(lambda: service.get("/ready").status_code == 200)


@pytest.fixture
def postmaster(postgres: EmbeddedPostgres) -> int:
    file = postgres.data_directory / "postmaster.pid"
    if not file.is_file():
        pytest.skip("the server is not ours to freeze")
    return int(file.read_text("ascii").split()[0])


def test_a_frozen_database_is_reported_in_two_seconds(
    serve_app: Callable[..., Service], database_url: str, postmaster: int
):
    """A probe without an answer tells an orchestrator nothing. Five seconds allow for a slow machine."""
    assert HEALTH_SECONDS < 2
    service = serve_app(served(database_url, api_keys=(KEY,), service_api_keys=("read",), read_seconds=1))
    await_truth(lambda: service.get("/ready").status_code == 200)
    await_truth(lambda: service.get("/api/sessions/none", "read").status_code == 404)
    with frozen(postmaster):
        await_truth(lambda: requests.get(f"{service.url}/ready", timeout=5).status_code == 503)
        for path in ("/live", "/ready", "/health") * 5:
            answer = requests.get(f"{service.url}{path}", timeout=5)
            assert answer.status_code == (200 if path == "/live" else 503)
        assert answer.json()["dependencies"] == {"database": {"state": "down", "reason": "DatabaseUnavailable"}}
        assert int(answer.headers["retry-after"]) >= 1
        assert service.get("/api/sessions/none", "read").status_code == 503
    await_truth(lambda: service.get("/ready").status_code == 200)
    await_truth(lambda: service.get("/api/sessions/none", "read").status_code == 404)


@pytest.fixture
def watching(database_url: str) -> Iterator[Callable[..., DatabaseWatch]]:
    """`watching(listener, port, clock)`: what an instance of the service starts, once it has competed for the lock."""
    watches: list[DatabaseWatch] = []

    def start(listener: Listener, port: int, clock: Callable[[], datetime] | None = None) -> DatabaseWatch:
        settings = Settings(_env_file=None, alert_webhook_url=listener.url, database_url=SecretStr(database_url))  # type: ignore[call-arg]
        watches.append(DatabaseWatch(settings, "0.0.0.0", port, clock))  # noqa: S104 its loopback is asked
        watches[-1].leader.compete()
        return watches[-1]

    yield start
    for watch in watches:
        watch.leader.close()


def test_an_outage_of_the_database_is_alerted_once_and_its_end_once(
    serve_app: Callable[..., Service],
    database_url: str,
    postmaster: int,
    watching: Callable[..., DatabaseWatch],
):
    """Dagster keeps its own tables there, so that no sensor of it can send the alert. Two instances send one."""
    service = serve_app(served(database_url, api_keys=(KEY,)))
    await_truth(lambda: service.get("/ready").status_code == 200)
    now = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
    with listening() as listener:
        watches = [watching(listener, service.port, lambda: now) for _ in range(2)]

        def check(*, minute: int) -> None:
            nonlocal now
            now = now.replace(minute=minute)
            for watch in watches:
                watch.check()

        check(minute=0)
        with frozen(postmaster):
            await_truth(lambda: requests.get(f"{service.url}/health", timeout=5).status_code == 503)
            check(minute=1)
            check(minute=2)
            assert listener.heard == [], "shorter outages are no alert"
            listener.status = 503
            check(minute=4)
            listener.status = 200
            check(minute=5)
            check(minute=6)
        await_truth(lambda: requests.get(f"{service.url}/health", timeout=5).status_code == 200)
        check(minute=7)
        check(minute=8)

        *refused, began, ended = [body["text"].splitlines()[0] for body in listener.heard]
    assert set(refused) == {began}, "an alert that was not accepted is sent again"
    assert began == "asleep-sync: the database has not answered since 2026-01-02 03:01 UTC"
    assert ended == (
        "asleep-sync: the database answers again since 2026-01-02 03:07 UTC; the outage began at 2026-01-02 03:01 UTC"
    )


def test_an_instance_alerts_later_when_the_first_one_may_be_lost_with_the_database(
    serve_app: Callable[..., Service],
    database_url: str,
    postmaster: int,
    watching: Callable[..., DatabaseWatch],
):
    """Both on one machine that lost power: without a second alert there would be none."""
    service = serve_app(served(database_url, api_keys=(KEY,)))
    await_truth(lambda: service.get("/ready").status_code == 200)
    now = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
    with listening() as listener:
        watching(listener, service.port)
        other = watching(listener, service.port, lambda: now)
        with frozen(postmaster):
            await_truth(lambda: requests.get(f"{service.url}/health", timeout=5).status_code == 503)
            other.check()
            now += timedelta(minutes=9)
            other.check()
            assert listener.heard == []
            now += timedelta(minutes=1)
            other.check()
        assert len(listener.heard) == 1
    await_truth(lambda: service.get("/ready").status_code == 200)


def test_the_watch_needs_no_proxy_and_survives_an_answer_that_is_not_json(
    monkeypatch: pytest.MonkeyPatch, watching: Callable[..., DatabaseWatch]
):
    """Either ended its thread, and no outage was alerted any more."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with listening() as listener:
        listener.status = 503

        watching(listener, listener.server.server_port).check()

    assert (listener.requested, listener.heard) == (["/health"], [])


def test_a_full_disk_is_not_ready(serve_app: Callable[..., Service], database_url: str, engine: Engine):
    """Reads still work then, so only an attempt to write finds out, with or without traffic."""
    service = serve_app(served(database_url, api_keys=(KEY,)))
    await_truth(lambda: service.get("/ready").status_code == 200)
    with engine.begin() as connection:
        connection.execute(text(
            "CREATE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
            "'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
        ))  # fmt: skip
        connection.execute(text(
            "CREATE TRIGGER disk_full BEFORE INSERT ON asleep.webhook_events EXECUTE FUNCTION public.disk_full()"
        ))  # fmt: skip
    try:
        await_truth(lambda: service.get("/ready").status_code == 503)
        assert service.event(b'{"n": "full"}').status_code == 503
        inbox = service.get("/health").json()["dependencies"]["inbox"]
        assert inbox == {"state": "down", "reason": "events cannot be stored (DiskFull)"}
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP TRIGGER disk_full ON asleep.webhook_events"))
    await_truth(lambda: service.get("/ready").status_code == 200)
    assert service.event(b'{"n": "full"}').json() == {"status": "stored"}


def test_trying_whether_events_can_be_stored_leaves_none(
    serve_app: Callable[..., Service], database_url: str, engine: Engine
):
    """The inbox holds what Asleep sent, and nothing else."""
    service = serve_app(served(database_url, api_keys=(KEY,)))
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT count(*) FROM asleep.webhook_events"))
        await_truth(lambda: service.get("/ready").status_code == 200)
        assert connection.scalar(text("SELECT count(*) FROM asleep.webhook_events")) == before


@pytest.mark.parametrize("path", ["/live", "/ready", "/health"])
def test_monitors_that_send_head_are_answered(serve_app: Callable[..., Service], database_url: str, path: str):
    """Several uptime monitors request HEAD by default."""
    service = serve_app(served(database_url, enable_webhooks=False))
    await_truth(lambda: requests.head(f"{service.url}{path}", timeout=30).status_code == 200)
    assert requests.head(f"{service.url}{path}", timeout=30).content == b""
    assert requests.head(f"{service.url}/webhooks/asleep", timeout=30).status_code == 404


def test_a_killed_worker_is_replaced(start_service: Callable[..., Service], database_url: str):
    """One crash must not halve the service until a person looks."""
    service = start_service(database_url, workers=2)
    assert service.process is not None

    def workers() -> set[int]:
        with open(f"/proc/{service.process.pid}/task/{service.process.pid}/children") as children:  # noqa: PTH123
            return {int(child) for child in children.read().split() if _is_worker(int(child))}

    before = workers()
    assert len(before) == 2
    os.kill(next(iter(before)), signal.SIGKILL)
    await_truth(lambda: len(workers() - before) == 1 and len(workers()) == 2)
    await_truth(lambda: service.event(b'{"after": "the kill"}').status_code == 200)


def _is_worker(process: int) -> bool:
    with open(f"/proc/{process}/cmdline") as command:  # noqa: PTH123
        return "spawn_main" in command.read()
