"""The commands that run a program until it ends: serve, ui, dev, simulate, exec, demo."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from pipelines.cli.common import PORT, Refusal, open_database, read_database, read_settings, require_free_port


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=PORT, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Run the webhook service and the read API.

    It also serves /live, /ready, /health and /metrics.
    Several instances can run behind a proxy that terminates TLS. The read API is off until SERVICE_API_KEYS is
    set. `/openapi.json` describes all routes.
    """
    from pipelines.service.app import require_servable
    from pipelines.service.program import run_service

    settings = read_settings()
    os.environ["DATABASE_URL"] = settings.require_database_url()
    try:
        require_servable(settings)
    except ValueError as error:
        raise Refusal(str(error)) from None
    open_database(settings)
    require_free_port(host, port, f"asleep-sync serve --port {port + 1}")
    run_service(settings, host=host, port=port, workers=workers)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=PORT, help="Port to listen on.")
def ui(host: str, port: int) -> NoReturn:
    """Serve Dagster's UI.

    The UI is protected against requests from other sites' web pages, but has no login: keep it on loopback, or
    behind a proxy that requires one. UI_HOSTS lists the host names under which people open it.
    """
    from pipelines.cli.dev import ui_command
    from pipelines.runtime.dagster_environment import OWN_HOME

    require_free_port(host, port, f"asleep-sync ui --port {port + 1}")
    settings = read_settings()
    read_database(settings).engine.connect().close()  # Dagster would print 190 lines about a database that is away
    module = ui_command(host, port, OWN_HOME / "workspace.yaml")
    os.execve(sys.executable, [sys.executable, "-m", *module], _environment(settings))  # noqa: S606 our own interpreter


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def simulate(options: tuple[str, ...]) -> NoReturn:
    """Run the simulated Asleep API. `asleep-sync simulate --help` lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *options])  # noqa: S606 our own interpreter


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def execute(command: tuple[str, ...]) -> NoReturn:
    """Run COMMAND in Dagster's environment.

    Sets the environment variables that Dagster's programs need.

    \b
    Examples:
      asleep-sync exec -- dagster job list
      asleep-sync exec -- dagster-daemon run -w workspace.yaml
    """
    try:
        os.execvpe(command[0], list(command), _environment(read_settings()))  # noqa: S606 as asked
    except FileNotFoundError:
        raise Refusal(f"program not found: {command[0]}.") from None


def _environment(settings: Any) -> dict[str, str]:
    """Our variables, those that Dagster's programs need, and our programs first in the path."""
    from pipelines.runtime.dagster_environment import dagster_environment

    environment = dagster_environment(settings)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **environment, "PATH": path}


@click.command()
@click.option(
    "--users", "count", default=40, show_default=True, type=click.IntRange(1, 5000), help="Users of the simulated API."
)
@click.option("--days", default=60, show_default=True, type=click.IntRange(1, 350), help="How many days back to sync.")
@click.option("--remove", is_flag=True, help="Remove the demo's data: Postgres, runs, simulated API, reports.")
def demo(count: int, days: int, remove: bool) -> None:
    """Run the demo on simulated data.

    Uses an embedded Postgres and the simulated API with real nights, and runs the job and the averages. Makes no
    network connections outside this machine. A second demo finds everything stored and fetches nothing.
    """
    from pipelines.cli.demo import remove_demo, run_demo
    from pipelines.cli.development.simulated_api import Size

    if remove:
        remove_demo()
        click.echo("The demo's data are removed.")
        return
    sys.exit(run_demo(Size(count, days)))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=PORT, help="Port to listen on.")
def dev(host: str, port: int) -> None:
    """Run Dagster's UI and daemon until Ctrl-C.

    With ASLEEP_API_KEY it uses your account. Without it, it starts the simulated API with the demo's users and
    nights, so that every schedule, backfill and retry in the UI works. It prints the UI's address when it is ready.

    \b
    Examples:
      asleep-sync dev
      asleep-sync dev --port 3001
    """
    from pipelines.cli.dev import run_dev

    run_dev(read_settings(find_database=False), host, port)
