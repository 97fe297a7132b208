"""An alert: a log line, a StatsD event and a message to ALERT_WEBHOOK_URL, as far as they are set up."""

from datetime import datetime, timedelta

import structlog

from pipelines.observability import LOGGER, statsd_client
from pipelines.settings import Settings
from resources.notifications.deliver import deliver

OUTAGE_ALERT_AFTER = timedelta(minutes=2)
"""Shorter outages are no alert."""


def alert(settings: Settings, text: str, *, title: str, event: str, **details: object) -> None:
    """Log an error, send a StatsD event, and post the text to ALERT_WEBHOOK_URL, as far as they are set up.

    Args:
        settings: where to.
        text: a few plain lines.
        title: of the StatsD event.
        event: of the log line.
        details: of the log line; strings become tags of the StatsD event.

    Raises:
        NotDelivered: ALERT_WEBHOOK_URL did not accept the message.
    """
    structlog.get_logger(f"{LOGGER}.alerts").error(event, **details)
    if settings.enable_metrics:
        tags = [f"{name}:{value}" for name, value in details.items() if name == "job"]
        statsd_client(settings).event(title, text, alert_type="error", tags=tags)
    if settings.alert_webhook_url is not None:
        deliver(settings.alert_webhook_url, text)


def alert_of_outage(settings: Settings, what: str, since: datetime | None, *, ended_at: datetime | None) -> None:
    """Alert that something has not answered for a while, or that it answers again.

    Args:
        settings: where to.
        what: the thing that does not answer, for people.
        since: when the outage began.
        ended_at: when it was found to be over; None while it lasts.

    Raises:
        NotDelivered: ALERT_WEBHOOK_URL did not accept the message.
    """
    began = f"{since:%Y-%m-%d %H:%M} UTC"
    if ended_at is None:
        text = f"asleep-sync: the {what} has not answered since {began}\n- Nothing is lost: what needs it waits."
    else:
        text = f"asleep-sync: the {what} answers again since {ended_at:%Y-%m-%d %H:%M} UTC; the outage began at {began}"
    event = "outage_ended" if ended_at else "outage_started"
    alert(settings, text, title=f"asleep-sync {event.replace('_', ' ')}", event=event, what=what, since=began)
