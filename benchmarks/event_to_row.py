"""How long from a finished night's event to its row, with the service and Dagster's daemon as they are deployed.

    python benchmarks/event_to_row.py [--events 60] [--every 2] [--outages]

The simulated API sends SESSION_COMPLETE events by the clock; the service puts them in the inbox, the daemon's sensor
starts a run, the run stores the session. Both moments, the event's `received_at` and the row's `created_at`, are the
database server's. Every fourth event is not whole, so that the session has to be fetched. First come nights one by
one at a steady pace, then single ones with a pause of a minute and more before each.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, text
from surroundings import KEY, ROOT, Surroundings, surroundings

from resources.database.engine import make_engine
from resources.embedded_postgres import server as embedded

COMMAND = str(Path(sys.executable).parent / "asleep-sync")
QUIET_SECONDS = 75
GIVE_UP_SECONDS = 180

WAITED = text("""
SELECT EXTRACT(EPOCH FROM stored.created_at - event.received_at)::float
FROM asleep.webhook_events AS event
JOIN asleep.sleep_sessions AS stored
    ON stored.session_id = convert_from(event.body, 'UTF8')::json #>> '{data,session,id}'
WHERE stored.session_id = ANY(:sessions)
ORDER BY 1
""")
RUNS = text("SELECT count(*) FROM dagster.runs WHERE pipeline_name = 'process_webhook_events'")


@contextmanager
def program(*command: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A program of ours until the block ends."""
    with (
        log.open("wb") as output,
        subprocess.Popen([COMMAND, *command], env=environment, cwd=ROOT, stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str) -> None:
    """Until the service is ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 loopback
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the service did not become ready")


def send(world: Surroundings, receiver: str, session_id: str, *, whole: bool) -> None:
    """One event, as the API sends it; one that is not whole is of version 1, whose names differ."""
    order = {"url": receiver, "session_id": session_id, "version": "V3" if whole else "V1"}
    answer = world.ask("webhooks", order)
    if answer["status"] != 200:
        raise SystemExit(f"the service answered {answer['status']}")


def waits(engine: Engine, sessions: list[str]) -> list[float]:
    """Seconds from event to row, once all are there."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            found = list(connection.scalars(WAITED, {"sessions": sessions}))
        if len(found) == len(sessions):
            return found
        time.sleep(1)
    raise SystemExit(f"{len(sessions) - len(found)} of {len(sessions)} events did not become rows")


def post_whole(receiver: str, result: dict[str, Any], number: int) -> str | None:
    """A night of last night's, as an event with all that belongs to it; its id, or None when it was refused."""
    length = datetime.fromisoformat(result["session"]["end_time"]) - datetime.fromisoformat(
        result["session"]["start_time"]
    )
    end = datetime.now(UTC) - timedelta(hours=1)
    name = f"{end - length:%Y%m%d%H%M%S}_{number:05}"
    times = {"start_time": (end - length).isoformat(), "end_time": end.isoformat()}
    data = {"user_id": f"outage-{number}", **result, "session": {**result["session"], **times, "id": name}}
    body = json.dumps({"event": "SESSION_COMPLETE", "version": "V3", "data": data}).encode()
    request = urllib.request.Request(receiver, body, {"x-api-key": KEY})  # noqa: S310 loopback
    try:
        with urllib.request.urlopen(request, timeout=15):  # noqa: S310 loopback
            return name
    except OSError:
        return None


def outages(world: Surroundings, receiver: str, engine: Engine, seconds: int) -> None:
    """Print the figures of two outages."""
    sessions = [s for user in world.ask("truth")["users"] for s in user["sessions"]]
    result = next(s["result"] for s in sessions if s["result"]["session"]["state"] == "COMPLETE")
    world.ask("faults", [{"kind": "status_503"}])
    sent = []
    for number in range(seconds):
        if number % 4 == 0:
            send(world, receiver, sessions[number + 1]["row"]["session_id"], whole=False)
        sent.append(post_whole(receiver, result, number))
        time.sleep(1)
    print(line("whole, the API away", waits(engine, [name for name in sent if name])), flush=True)
    engine.dispose()
    if not embedded.stop(world.directory):
        raise SystemExit("Postgres did not stop")
    time.sleep(16)
    embedded.start(world.directory)
    back = time.monotonic()
    while (name := post_whole(receiver, result, 9000)) is None:
        time.sleep(0.2)
    accepted = time.monotonic() - back
    waits(engine, [name])
    print(f"\nPostgres back: first event accepted after {accepted:.1f} s, its row there after "
          f"{time.monotonic() - back:.1f} s.")  # fmt: skip


def line(title: str, seconds: list[float]) -> str:
    """A row of the result."""
    at = [seconds[min(len(seconds) - 1, int(len(seconds) * share))] for share in (0.5, 0.95, 0.99)]
    return f"| {title} | {len(seconds)} | {at[0]:.1f} s | {at[1]:.1f} s | {at[2]:.1f} s | {seconds[-1]:.1f} s |"


def main() -> None:
    """Start everything, send, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=60, help="at a steady pace")
    parser.add_argument("--every", type=float, default=2, help="seconds between them")
    parser.add_argument("--single", type=int, default=4, help="events with a long pause before each")
    parser.add_argument("--outages", type=int, default=0, help="seconds of the API's outage; nothing else is measured")
    options = parser.parse_args()
    with surroundings(10, 30, 20) as world, world.database() as url, TemporaryDirectory() as home:
        engine = make_engine(url, application_name="benchmark")
        port = free_port()
        environment = {
            **os.environ, "DATABASE_URL": url, "ASLEEP_API_KEY": KEY, "ASLEEP_BASE_URL": world.api_url,
            "DATA_DIRECTORY": home, "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        sessions = [s["row"]["session_id"] for user in world.ask("truth")["users"] for s in user["sessions"]]
        receiver = f"http://127.0.0.1:{port}/webhooks/asleep"
        daemon = ("exec", "--", "dagster-daemon", "run", "-w", str(ROOT / "workspace.yaml"))
        with (
            program("serve", "--port", str(port), environment=environment, log=Path(home) / "service.log"),
            program(*daemon, environment=environment, log=Path(home) / "daemon.log"),
        ):
            wait_for(f"http://127.0.0.1:{port}/ready")
            send(world, receiver, sessions[0], whole=True)
            waits(engine, sessions[:1])
            print("| Events | | 50th | 95th | 99th | longest |\n|---|---|---|---|---|---|")
            if options.outages:
                outages(world, receiver, engine, options.outages)
                return
            steady = sessions[1 : options.events + 1]
            began = time.monotonic()
            for number, session_id in enumerate(steady):
                time.sleep(max(0.0, began + number * options.every - time.monotonic()))
                send(world, receiver, session_id, whole=number % 4 > 0)
            print(line(f"one every {options.every:g} s", waits(engine, steady)), flush=True)
            single = sessions[options.events + 1 : options.events + options.single + 1]
            for number, session_id in enumerate(single):
                time.sleep(QUIET_SECONDS + 3 * number)
                send(world, receiver, session_id, whole=True)
            print(line("one after a minute's pause", waits(engine, single)), flush=True)
            with engine.connect() as connection:
                print(f"\nRuns of process_webhook_events: {connection.scalar(RUNS)}.")
        engine.dispose()


if __name__ == "__main__":
    main()
