"""What a newcomer gets wrong: each ends soon, with exit code 2 and one line that names what to mend."""

import contextlib
import os
import pty
import signal

import pytest
from sqlalchemy import text

from tests.adversary import forwarding_to, whole
from tests.bad_server import Request, Server, Wire


def lines(said):
    return [line for line in said.splitlines() if line.startswith("asleep-sync: ")]


@pytest.fixture
def serve():
    servers = []

    def start(behaviour):
        servers.append(Server(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def portal(wire: Wire, _: Request) -> None:
    wire.answer(200, b"<html>Please log in to the network</html>")


def test_an_address_that_does_not_answer_is_two_with_address_and_reason(deployment, serve):
    """It once took ten minutes, and 20 lines about a circuit that named neither."""
    gone, here = serve(portal), serve(portal)
    gone.stop()
    for url, reason in (
        (gone.url, "no connection could be made (Connection refused)"),
        (here.url, "HTTP 200 with"),
        (deployment.api.url.replace("http:", "https:"), "no trusted TLS connection could be made"),
    ):
        code, said = deployment.run(ASLEEP_BASE_URL=url, LOG_FORMAT="console")
        assert code == 2, said
        [line] = lines(said)
        assert f"does not answer at {url}: {reason}" in line
        assert "ASLEEP_BASE_URL" in line
        assert len(said.splitlines()) == 5, "window, users, sessions, requests, reason"
    assert deployment.rows("SELECT FROM asleep.api_addresses") == []
    code, said = deployment.run("status", ASLEEP_BASE_URL=gone.url)
    assert code == 1, said
    assert "stopped before its end" in said

    code, said = deployment.run()
    assert code == 0, said
    assert deployment.rows("SELECT base_url FROM asleep.api_addresses") == [(deployment.api.url,)]


def test_without_users_the_sync_is_two_and_a_wrong_key_is_named_even_then(deployment):
    """It once succeeded: nothing was wrong with no users."""
    with deployment.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.users SET active = false"))
    code, said = deployment.run()
    assert code == 2, said
    assert lines(said) == [
        "asleep-sync: no active user is registered. Import users first: asleep-sync users import FILE"
    ]

    code, said = deployment.run(ASLEEP_API_KEY="wrong")
    assert code == 2, said
    key, users = lines(said)
    assert "does not accept the key: check ASLEEP_API_KEY" in key
    assert "Import users first" in users


def test_interim_responses_before_everything_are_two_and_named(deployment, serve):
    """The cause is a gateway, and no user's failure would name it."""
    answer = forwarding_to(deployment.api.url)

    def hint_first(wire: Wire, request: Request) -> None:
        wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", whole(*reversed(answer(request))))

    server = serve(hint_first)
    with deployment.engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.api_addresses (base_url) VALUES (:url)"), {"url": server.url})
    code, said = deployment.run(ASLEEP_BASE_URL=server.url, USER_BATCH_SIZE="12", MAX_CONNECTIONS="12")
    assert code == 2, said
    [line] = lines(said)
    assert "interim responses" in line
    assert deployment.rows("SELECT FROM asleep.sleep_sessions") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sync_with_one_line_and_nothing_goes_on(deployment, number):
    """Ctrl-C, and what systemd and Docker send: it once went on for 155 seconds, and its run was retried."""
    process = deployment.sync(ASLEEP_REQUESTS_PER_SECOND="20")
    deployment.reach(10, process)
    process.send_signal(number)
    said = "".join(process.communicate(timeout=30))
    assert process.returncode == 128 + number, said
    [line] = lines(said)
    assert "stopped" in line
    assert "Traceback" not in said
    statuses = [run.status for run in deployment.rows("SELECT status FROM dagster.runs")]
    assert statuses == ["CANCELED"]
    if number is signal.SIGTERM:
        assert deployment.run("status")[0] == 1
        code, said = deployment.run()
        assert code == 0, said
        assert deployment.wrong() == []


def test_a_terminal_shows_progress_during_a_step_and_its_cursor_after_ctrl_c(deployment):
    """While a step runs, Dagster redirects the standard error stream: the bar once stood still, without a cursor."""
    ours, terminal = pty.openpty()
    slowly = {"ASLEEP_REQUESTS_PER_SECOND": "5"}
    with os.fdopen(ours, "rb", buffering=0) as screen, deployment.start("sync", stderr=terminal, **slowly) as process:
        os.close(terminal)
        shown = b""
        while b" users, " not in shown:
            shown += screen.read(4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # EIO: every process has closed the terminal
            while more := screen.read(4096):
                shown += more
    assert process.returncode == 130
    assert b"asleep-sync: stopped." in shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"), "the cursor stays hidden"
