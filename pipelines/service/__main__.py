"""Starts the service: `python -m pipelines.service`, or `asleep-sync serve`.

Lives here: settings → options, the factory that each worker calls.  Not here: routes, uvicorn's settings.
"""

import logging

import click
from fastapi import FastAPI

from pipelines.database_url import find_database_url
from pipelines.observability import LOGGER, set_up_logs, statsd_client
from pipelines.service.app import create_app
from pipelines.service.events import count_served
from pipelines.service.options import ServiceOptions
from pipelines.service.server import serve
from pipelines.settings import Settings, load_settings

FACTORY = "pipelines.service.__main__:build"


def options_from(settings: Settings) -> ServiceOptions:
    """What the service has to be told, from the environment.

    Raises:
        ValueError: the settings contradict each other.
    """
    return ServiceOptions(
        database_url=find_database_url(settings),
        enable_webhooks=settings.enable_webhooks,
        api_keys=tuple(key.get_secret_value() for key in settings.asleep_api_key),
        webhook_secret=settings.webhook_secret.get_secret_value() if settings.webhook_secret else None,
        service_api_keys=tuple(key.get_secret_value() for key in settings.service_api_keys),
        notify_url=settings.notify_url,
        notify_secret=settings.notify_secret.get_secret_value() if settings.notify_secret else None,
        listeners=(count_served(statsd_client(settings)),) if settings.enable_metrics else (),
    )


def build() -> FastAPI:
    """The application of one worker."""
    settings = load_settings()
    set_up_logs(settings)
    uvicorn_log, ours = logging.getLogger("uvicorn"), logging.getLogger(LOGGER)
    uvicorn_log.handlers, uvicorn_log.propagate = ours.handlers, False
    uvicorn_log.setLevel(ours.level)
    return create_app(options_from(settings))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
def main(host: str, port: int, workers: int) -> None:
    """Receive webhooks, answer the read API, tell how it is."""
    serve(FACTORY, host=host, port=port, workers=workers)


if __name__ == "__main__":
    main()
