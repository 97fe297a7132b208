"""The embedded Postgres from a shell, for the make targets.

python -m pipelines.cli.development.database start|stop|status|url|psql|destroy [--directory DIRECTORY]
"""

import os
from pathlib import Path

import click

from resources.embedded_postgres.programs import EmbeddedPostgresError
from resources.embedded_postgres.server import destroy, running, start, stop


@click.command()
@click.argument("verb", type=click.Choice(["start", "stop", "status", "url", "psql", "destroy"]))
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(".data/postgres"))
def main(verb: str, directory: Path) -> None:
    """Start, stop or show the embedded Postgres; `url` and `psql` start it, `destroy` removes its data for good."""
    try:
        click.echo(_do(verb, directory))
    except EmbeddedPostgresError as error:
        raise click.ClickException(str(error)) from error


def _do(verb: str, directory: Path) -> str:
    if verb == "stop":
        return f"Postgres of {directory} " + ("is stopped" if stop(directory) else "was not running")
    if verb == "destroy":
        destroy(directory)
        return f"Postgres of {directory} is removed"
    server = running(directory) if verb == "status" else start(directory)
    if server is None:
        raise click.ClickException(f"Postgres of {directory} is not running")
    if verb == "psql":
        os.execl("/bin/sh", "sh", "-c", f"exec env {server.psql_command}")  # noqa: S606 our own command
    return server.url if verb == "url" else f"running in {server.data_directory}\n{server.psql_command}"


if __name__ == "__main__":
    main()
