"""What operators see of each attempt: a line and a few numbers, and nothing that they must not see."""

import json
import logging
import socket
from collections import Counter
from datetime import date

import pytest

from assets.ops.batches import RequestCounts
from assets.sync.sync_batch import Batch, sync_batch
from assets.sync.window import Window
from pipelines.observability import LOGGER, count_attempts, log_attempts, set_up_logs, statsd_client
from pipelines.settings import Settings
from resources.asleep.resource import AsleepApi
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym

KEY = "a-key-that-must-not-be-seen"
NOW = "2026-11-22T09:00:00Z"


@pytest.fixture
def statsd():
    """A real StatsD listener on UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        yield listener


@pytest.fixture
def synced(simulate, engine, statsd, capfd):
    """A sync with debug lines as JSON and metrics on; gives the lines, the metrics and the users."""
    settings = Settings(
        _env_file=None, log_format="json", log_level="DEBUG", enable_metrics=True, statsd_port=statsd.getsockname()[1]
    )
    options = ("--users", "2", "--days", "5", "--seed", "3", "--now", NOW, "--api-key", KEY, "--ordinary-only")
    with simulate(*options) as api:
        users = [user["user_id"] for user in api.ask("users")]
        with engine.begin() as connection:
            Registry(connection).add([(user, None) for user in users])
        set_up_logs(settings)
        metrics = statsd_client(settings)
        reached = AsleepApi(api.url, KEY, 1000.0, 4, 10.0, (log_attempts(), count_attempts(metrics)))
        window = Window.of_days(date(2026, 11, 15), date(2026, 11, 22))
        with reached.client(engine, tally := RequestCounts()) as client:
            counts = sync_batch(engine, client, _batch(window), tally.counts)
        requests = api.requests()
    metrics.close_socket()
    logging.getLogger(LOGGER).handlers.clear()
    return capfd.readouterr().err, statsd, users, requests, counts


def _batch(window):
    return Batch(run_id="run-7", number=0, of=1, window=window, workers=4, cache_ttl_seconds=0.0)


def test_each_attempt_is_one_line_and_three_metrics(synced):
    """An operator finds the attempt by run, batch and user, and a dashboard counts the same attempts."""
    err, statsd, users, requests, counts = synced
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    attempts = [line for line in lines if line["event"] == "attempt"]
    assert len(attempts) == sum(requests.values()) == counts["requests"] > 2
    assert {(line["run_id"], line["batch"]) for line in attempts} == {("run-7", 0)}
    assert {line["user"] for line in attempts} == {pseudonym(user) for user in users}
    assert {line["outcome"] for line in attempts} == {"ok"}
    for line in attempts:
        assert {"endpoint", "status", "duration_seconds", "waited_seconds", "number", "received_bytes"} <= set(line)

    heard = _heard(statsd, sum(requests.values()))
    assert heard["asleep_sync.attempts"] == heard["asleep_sync.attempt.duration"] == heard["asleep_sync.attempt.wait"]
    assert heard["asleep_sync.attempts"] == sum(requests.values())
    received = heard["received"]
    assert any("endpoint:read_session" in metric and "outcome:ok" in metric for metric in received)

    for hidden in (KEY, *users):
        assert hidden not in err
        assert not any(hidden in metric for metric in received)


def _heard(statsd, attempts):
    """How often each metric was told, until all attempts are; the socket's time-out ends the wait for a missing one."""
    heard: Counter = Counter()
    received = []
    while min(heard[f"asleep_sync.{name}"] for name in ("attempts", "attempt.duration", "attempt.wait")) < attempts:
        for metric in filter(None, statsd.recv(65536).decode().split("\n")):
            name, _, rest = metric.partition(":")
            value, kind = rest.split("|")[:2]
            heard[name] += int(value) if kind == "c" else len(value.split(":"))
            received.append(metric)
    return {**heard, "received": received}
