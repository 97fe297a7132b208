"""The commands that start a program and stay with it: serve, simulate, exec, demo.

Lives here: their arguments and help.  Not here: the programs.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from pipelines.cli.common import Refusal, read_database, read_settings, with_database_url


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Run the service: webhooks of Asleep, the read API, /live, /ready, /health.

    Several instances may run at once behind a proxy that ends TLS. The read API is off until SERVICE_API_KEYS is
    set. `/openapi.json` describes all of it.
    """
    from pipelines.service.__main__ import FACTORY, options_from
    from pipelines.service.server import serve as run

    settings = with_database_url(read_settings())
    os.environ["DATABASE_URL"] = settings.require_database_url()
    try:
        options_from(settings)
    except ValueError as error:
        raise Refusal(str(error)) from None
    read_database(settings).require_migrated()
    run(FACTORY, host=host, port=port, workers=workers, trusted_proxies=settings.trusted_proxies)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def simulate(options: tuple[str, ...]) -> NoReturn:
    """Run the simulated Asleep API (all its options: `asleep-sync simulate --help`)."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *options])  # noqa: S606 our own interpreter


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def execute(command: tuple[str, ...]) -> NoReturn:
    """Run COMMAND in the environment that Dagster's programs need here.

    \b
    Examples:
      asleep-sync exec -- dagster job list
      asleep-sync exec -- dagster-webserver -w workspace.yaml
    """
    from pipelines.runtime.dagster_environment import dagster_environment

    environment = dagster_environment(with_database_url(read_settings()))
    bin_directory = Path(sys.executable).parent
    path = f"{bin_directory}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        os.execvpe(command[0], list(command), {**os.environ, **environment, "PATH": path})  # noqa: S606 as asked
    except FileNotFoundError:
        raise Refusal(f"there is no program {command[0]}.") from None


@click.command()
@click.option("--users", "count", default=40, show_default=True, help="How many users the simulated API has.")
@click.option("--days", default=60, show_default=True, help="How many days back to sync.")
def demo(count: int, days: int) -> None:
    """See it all work: embedded Postgres, the simulated API with real nights, the job, the averages.

    Contacts nothing but this machine. A second demo finds everything stored and fetches nothing.
    """
    from pipelines.cli.demo import run_demo

    sys.exit(run_demo(count, days))
