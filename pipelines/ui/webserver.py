"""Dagster's webserver behind the guard: `python -m pipelines.ui.webserver`, or `asleep-sync ui`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click
import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.applications import Starlette

from pipelines.settings import load_settings
from pipelines.ui.guard import UiGuard

STATEMENT_TIMEOUT_MILLISECONDS = 15_000
_POOL_RECYCLE_SECONDS = 3600
_POOL_OVERFLOW = 20


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    """The UI's websockets wait for events; at the end of the process they are cancelled."""
    import asyncio

    with suppress(asyncio.CancelledError):
        yield


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, help="Port to listen on.")
@click.option("--workspace", type=click.Path(path_type=Path, exists=True), required=True, help="A workspace.yaml.")
def main(host: str, port: int, workspace: Path) -> None:
    """Serve Dagster's UI.

    Args:
        host: address to listen on.
        port: port to listen on.
        workspace: where the code locations are.
    """
    hosts = load_settings().ui_hosts
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW)
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as context:
            app = create_app_from_workspace_process_context(context, lifespan=_lifespan)
            click.echo(f"Dagster's UI: http://{host}:{port} (Ctrl-C ends it)")
            uvicorn.run(UiGuard(app, hosts), host=host, port=port, log_level="warning", proxy_headers=False)


if __name__ == "__main__":
    main()
