"""The format of log lines, and the listeners that log and count each request to the API."""

import logging
import sys

import structlog
from datadog.dogstatsd.base import DogStatsd
from structlog.typing import Processor

from pipelines.settings import Settings
from resources.asleep.request_events import Attempt, Listener

LOGGER = "asleep_sync"


def set_up_logs(settings: Settings, *, with_results: bool = True) -> None:
    """Write structured lines to the standard error stream, as JSON or for people; safe to call twice.

    Args:
        settings: level and format.
        with_results: False leaves out the lines about requests and alerts, which repeat a command's printed result.
    """
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.logs_as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(settings.log_level)
    logger.propagate = False
    for name in ("asleep", "alerts"):
        logger.getChild(name).setLevel(logging.NOTSET if with_results else logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def log_attempts(level: int = logging.DEBUG) -> Listener:
    """Return a listener that writes a line for each attempt, a warning unless its outcome is `ok`."""
    log = structlog.get_logger(f"{LOGGER}.asleep")

    def listen(attempt: Attempt) -> None:
        log.log(
            level if attempt.outcome == "ok" else logging.WARNING,
            "attempt",
            endpoint=attempt.endpoint,
            user=attempt.user,
            number=attempt.number,
            status=attempt.status,
            outcome=attempt.outcome,
            waited_seconds=round(attempt.waited_seconds, 4),
            duration_seconds=round(attempt.duration_seconds, 4),
            received_bytes=attempt.received_bytes,
        )

    return listen


def count_attempts(statsd: DogStatsd) -> Listener:
    """Return a listener that counts and times each attempt under `asleep_sync.`."""

    def listen(attempt: Attempt) -> None:
        tags = [f"endpoint:{attempt.endpoint}", f"outcome:{attempt.outcome}", f"status:{attempt.status or 'none'}"]
        statsd.increment("asleep_sync.attempts", tags=tags)
        statsd.timing("asleep_sync.attempt.duration", attempt.duration_seconds * 1000, tags=tags)
        statsd.timing("asleep_sync.attempt.wait", attempt.waited_seconds * 1000, tags=tags)

    return listen


def statsd_client(settings: Settings) -> DogStatsd:
    """Return the StatsD client: UDP, silent without a receiver."""
    return DogStatsd(host=settings.statsd_host, port=settings.statsd_port, disable_telemetry=True)


def listeners(settings: Settings) -> tuple[Listener, ...]:
    """Return the listeners of each attempt."""
    heard = (log_attempts(),)
    return (*heard, count_attempts(statsd_client(settings))) if settings.enable_metrics else heard
