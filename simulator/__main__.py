"""Start the simulated API: `python -m simulator`."""

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import orjson

from simulator.api import Api
from simulator.application import Application
from simulator.behaviour import CHOICES, Behaviour
from simulator.cassette import Cassette, CassetteInvalid
from simulator.changes import Changes
from simulator.fault_kinds import AFTER, BEFORE
from simulator.population import Plan
from simulator.rate import RateLimit
from simulator.special_sessions import populate
from simulator.truth import users_csv
from simulator.world import Clock, World, moment_of

EXAMPLES = """\
examples:
  asleep-sync simulate --port 8400 --users 40 --days 60 --rate 10
      a small organisation behind the documented kind of rate limit
  asleep-sync simulate --port 0 --users 200 --days 30 --sessions-per-user 30 --latency-ms 20
      exactly 6,000 finished sessions and no special sessions, for a benchmark; the port is in the line printed
  asleep-sync simulate --port 8400 --state-file state.jsonl
      what is changed through the control plane survives a restart
  asleep-sync simulate --cassette cassette.json
      the redacted responses of a real account, about one user; `users --cassette cassette.json` prints the user
  asleep-sync simulate users --seed 1 --users 40 > users.csv
      the same users as a file that registers them; nothing is started

faults, by POST /_simulator/faults (fields and control plane: simulator/README.md):
{faults}

  curl -d '[{{"kind": "page_cap", "cap": 30, "after": 10}}]' http://127.0.0.1:8400/_simulator/faults
      pages of at most 30 rows from the eleventh list on
  curl -d '[{{"kind": "missing_user", "share_of_users": 0.1, "per_user": 2}}]' http://127.0.0.1:8400/_simulator/faults
      for a tenth of the users, two requests each get 404
  curl -d '{{"changes": "tracks"}}' http://127.0.0.1:8400/_simulator/sessions/SESSION_ID/reanalyse
      a session is analysed again; its statistics and its list row do not change

When ready it prints one line: {{"url": "http://127.0.0.1:8400", "users": 40, "sessions": 2210}}
Send the header "x-api-key: simulated-key". The control plane lies under /_simulator/, see simulator/README.md.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="asleep-sync simulate",
        description="A simulated Asleep API with real nights, faults on demand and a known truth.",
        epilog=EXAMPLES.format(faults=_faults()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("command", nargs="?", choices=["serve", "users"], default="serve", help="serve, or print the users as CSV")
    add("--host", default="127.0.0.1", help="address to listen on (default: only this machine)")
    add("--port", type=_port, default=8400, help="0 takes a free one (default 8400)")
    add("--users", type=int, default=40, help="how many users (default 40)")
    add("--days", type=int, default=60, help="days of history before now (default 60)")
    add("--days-ahead", type=int, default=0, help="also nights to come, which appear as time passes (default 0)")
    add("--sessions-per-user", type=int, metavar="N", help="exactly N finished sessions each, without special sessions")
    add("--ordinary-only", action="store_true", help="ordinary users only")
    add("--breathing-share", type=float, default=0.15, help="share of users with breathing analysis (default 0.15)")
    add("--seed", type=int, default=1, help="another seed, another population (default 1)")
    add("--now", metavar="ISO", help="a clock that stands still, e.g. 2026-11-23T09:00:00Z (default: real time)")
    add("--rate", type=float, default=0, help="requests a second allowed per key, strictly (default 0: no limit)")
    add("--latency-ms", type=float, default=0, help="added to every response of the API (default 0)")
    add("--api-key", default="simulated-key", help="valid keys, comma separated (default simulated-key)")
    add("--test-key", help="a key of the other environment: valid, but it sees no users")
    add("--state-file", type=Path, metavar="PATH", help="keep changes here and replay them at the next start")
    add("--cassette", type=Path, metavar="PATH", help="replay the responses that `asleep-sync doctor --record` wrote")
    add("--stop-with-parent", action="store_true", help="stop when standard input closes")
    add("--max-seconds", type=float, metavar="N", help="stop after N seconds")
    choices = found.add_argument_group("where the contract leaves a choice; also changed by POST /_simulator/behaviour")
    for name, rules in CHOICES.items():
        default = getattr(Behaviour(), name)
        kind: dict[str, Any] = {"choices": rules["values"]} if "values" in rules else {"type": int, "metavar": "N"}
        text = f"{rules['help']} (default {default})"
        choices.add_argument(f"--{name.replace('_', '-')}", default=default, help=text, **kind)
    return found


def _port(text: str) -> int:
    """An argument that is a port."""
    if not 0 <= (port := int(text)) <= 65535:  # noqa: PLR2004 of TCP
        raise argparse.ArgumentTypeError(f"{port} is not in the range 0 to 65535")
    return port


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"simulator: {message}\n")
    sys.exit(2)


def _faults() -> str:
    """A line for each kind of fault."""
    lines = {"status_4xx, status_5xx": "Any of these statuses; 502 and 504 as HTML."}
    lines |= {kind: (effect.__doc__ or "").partition("\n")[0] for kind, effect in {**BEFORE, **AFTER}.items()}
    return "\n".join(f"  {kind:22} {text}" for kind, text in sorted(lines.items()))


def build(options: argparse.Namespace) -> Application:
    """The whole simulator from its options."""
    cassette = Cassette.read(options.cassette) if options.cassette else None
    lines = _journal(options)
    base = orjson.loads(lines[0])["now"] if lines else None
    fixed = moment_of(options.now) if options.now else None
    behaviour = Behaviour(
        keys=tuple(filter(None, options.api_key.split(","))),
        test_key=options.test_key,
        latency_seconds=options.latency_ms / 1000,
    )
    for name in CHOICES:
        behaviour.change(name, getattr(options, name))
    world = World(options.seed, Clock(moment_of(base) if base else fixed), behaviour)
    plan = Plan(
        users=0 if cassette else options.users,
        days=options.days,
        days_ahead=options.days_ahead,
        sessions_per_user=options.sessions_per_user,
        breathing_share=options.breathing_share,
        special=not options.ordinary_only,
    )
    populate(world, plan)
    if fixed:
        world.clock.stop_at(fixed)
    else:
        world.clock.run()
    changes = Changes(world, options.state_file)
    changes.replay(lines[1:])
    return Application(world, Api(world, changes), RateLimit(options.rate), cassette)


def _journal(options: argparse.Namespace) -> list[bytes]:
    """The lines of the state file; a new one begins with the moment at which its history was made."""
    path: Path | None = options.state_file
    if path is None:
        return []
    if not path.exists():
        now = moment_of(options.now) if options.now else Clock().now()
        path.write_bytes(orjson.dumps({"now": now.isoformat()}) + b"\n")
    return path.read_bytes().splitlines()


async def serve(application: Application, options: argparse.Namespace) -> None:
    """Listen until told to stop.

    Args:
        application: answers the requests.
        options: of the command line.
    """
    from simulator.server import Listener

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    listener = Listener(application, options.host, options.port)
    try:
        port = await listener.start()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        _refuse(f"port {options.port} of {options.host} cannot be used ({reason}). Name another with --port.")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.stop_with_parent:
        threading.Thread(target=_wait_for_parent, args=(loop, stop), daemon=True).start()
    if options.max_seconds:
        loop.call_later(options.max_seconds, stop.set)
    ready = {
        "url": f"http://{options.host}:{port}",
        "users": len(application.world.users),
        "sessions": sum(len(application.world.begun(user)) for user in application.world.users.values()),
    }
    sys.stdout.write(orjson.dumps(ready).decode() + "\n")
    sys.stdout.flush()
    await stop.wait()
    listener.stop()


def _wait_for_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parser().parse_args(arguments)
    try:
        application = build(options)
    except CassetteInvalid as error:
        _refuse(str(error))
    if options.command == "users":
        cassette = application.cassette
        sys.stdout.write(f"user_id,timezone\n{cassette.user_id},\n" if cassette else users_csv(application.world))
        return
    gc.collect()
    gc.freeze()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(application, options))
    else:
        uvloop.run(serve(application, options))


if __name__ == "__main__":
    main()
