"""A failed run tells a person."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from pipelines.runtime.alerts import alert_on_run_failure
from pipelines.settings import Settings
from resources.notifications.alerts import ATTEMPTS, AlertNotDelivered
from tests.conftest import Simulator
from tests.integration.pipelines.runtime.conftest import definitions_for


class Listener:
    """A chat's webhook."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.status = 200
        self.first: list[int] = []
        """Answers before that."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(outer.first.pop() if outer.first else outer.status)
                self.send_header("location", "http://127.0.0.1:9/")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listening chat."""
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


@pytest.fixture
def tell(engine: Engine, api: Simulator, instance: dg.DagsterInstance) -> Callable[[str], None]:
    """`tell(url)`: a run fails because the key is refused, and the sensor hears of it."""

    def tell(url: str) -> None:
        wrong = definitions_for(engine, api.url, asleep_api_key=("wrong-key",))
        result = wrong.resolve_job_def("sync_named_users").execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"sync_some_users": {"config": {"first_day": "2026-01-01", "last_day": "2026-01-02"}}}},
        )
        (failure,) = result.filter_events(lambda event: event.event_type_value == "PIPELINE_FAILURE")
        sensor = alert_on_run_failure(Settings(_env_file=None, alert_webhook_url=url))  # type: ignore[call-arg]
        context = dg.build_run_status_sensor_context(
            "alert_on_run_failure", dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=failure
        ).for_run_failure()
        sensor(context)

    return tell


@pytest.fixture(autouse=True)
def users(engine: Engine, api: Simulator) -> None:
    """Somebody to sync."""
    from resources.database.users.registry import import_users

    with engine.begin() as connection:
        import_users(connection, [(user["user_id"], None) for user in api.ask("users")])


def test_the_message_says_what_failed_why_and_what_to_do(tell: Callable[[str], None], listener: Listener):
    """At three in the night nobody wants to open a stack trace."""
    tell(listener.url)

    ((message,),) = [list(body.values()) for body in listener.heard]
    assert message.startswith("asleep-sync: sync_named_users failed (run ")
    assert "check ASLEEP_API_KEY" in message
    assert "wrong-key" not in message


def test_a_chat_that_is_down_or_moved_is_an_error_of_the_sensor(tell: Callable[[str], None], listener: Listener):
    """It shows as a failed tick; a redirect is not followed, for the address itself is a secret."""
    listener.status = 302

    with pytest.raises(AlertNotDelivered, match="status 302"):
        tell(listener.url)

    assert len(listener.heard) == ATTEMPTS


def test_a_chat_that_is_busy_for_a_moment_hears_it_all_the_same(tell: Callable[[str], None], listener: Listener):
    """Dagster's sensor does not come back to a run that it has told of."""
    listener.first = [503]

    tell(listener.url)

    assert len(listener.heard) == 2
