"""Simulators as processes of their own, spoken to over loopback."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[3]
NOW = "2026-11-23T15:00:00+00:00"
KEY = "simulated-key"


class Service:
    """One running simulator."""

    def __init__(self, process: Any, ready: Any) -> None:
        self.process = process
        self.url = ready["url"]
        self.ready = ready
        self.http = requests.Session()
        self.http.trust_env = False

    def get(self, path: str, user: str | None = None, *, key: str = KEY, zone: str | None = None, **query: Any):
        """A call of the API."""
        headers = {"x-api-key": key, "x-user-id": user, "timezone": zone}
        headers = {name: value for name, value in headers.items() if value is not None}
        return self.http.get(self.url + path, headers=headers, params=query, timeout=10)

    def rows(self, user: str, **query: Any):
        """One page of a user's list."""
        answer = self.get("/data/v1/sessions", user, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]["sleep_session_list"]

    def result(self, user: str, session: str, zone: str | None = None):
        """One full result."""
        answer = self.get(f"/data/v3/sessions/{session}", user, zone=zone)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def averages(self, user: str, first: str, last: str, zone: str | None = None):
        """The average statistics of a period."""
        path = f"/data/v1/users/{user}/average-stats"
        answer = self.get(path, zone=zone, start_date=first, end_date=last)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def control(self, method: str, path: str, body: Any = None):
        """A call of the control plane; a dictionary or list comes back."""
        answer = self.http.request(method, f"{self.url}/_simulator/{path}", json=body, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def fault(self, **rule: Any):
        """One more fault."""
        self.control("POST", "faults", [rule])

    def truth(self, user: str):
        """All that is true of one user."""
        return self.control("GET", f"truth?user={user}")["users"][0]

    def user_with(self, tag: str):
        """The first user with the tag, as the control plane shows it."""
        return next(user for user in self.control("GET", "users") if tag in user["tags"])

    def sessions_with(self, tag: str):
        """User and session ids under a session tag."""
        users = self.control("GET", "users")
        return [(user["user_id"], each) for user in users for each in user["tagged_sessions"].get(tag, [])]


@contextmanager
def running(*options: Any):
    """A simulator that is stopped at the end, and with us whatever happens."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--stop-with-parent", *map(str, options)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        service = Service(process, json.loads(process.stdout.readline()))
        try:
            yield service
        finally:
            service.http.close()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)


@pytest.fixture(scope="session")
def service():
    """One that no test changes."""
    with running("--now", NOW) as found:
        yield found


@pytest.fixture(scope="session")
def shared():
    with running("--now", NOW, "--users", 24, "--days", 30) as found:
        yield found


@pytest.fixture
def changing(shared: Any):
    """One for changes; faults, limits, keys and the clock are put back after each test."""
    yield shared
    shared.control("DELETE", "faults")
    shared.control("POST", "rate", {"rate": 0})
    shared.control("POST", "keys", {"keys": [KEY]})
    shared.control("POST", "clock", {"now": NOW})
    shared.control("POST", "stats/reset")


@pytest.fixture
def own_user(changing: Any):
    """A new user with 45 short sessions, one a day."""
    user = changing.control("POST", "users", {"timezone": "Asia/Seoul"})["user_id"]
    first = datetime(2026, 10, 1, 13, tzinfo=UTC)
    starts = [(first + timedelta(days=day)).isoformat() for day in range(45)]
    changing.control("POST", "sessions", [{"user_id": user, "start": start, "epochs": 150} for start in starts])
    return user


@pytest.fixture
def start_service():
    """Starts one with other options."""
    return running
