"""Notifies the organisation's backend of finished sessions: one signed POST each, at least once."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import orjson
import requests
import structlog
from sqlalchemy import Engine

from resources.database.service.outbox import Notification, Outbox
from resources.notifications.deliver import NotDelivered, send
from resources.notifications.signature import sign

_log = structlog.get_logger("asleep_sync.notify")

_BATCH = 20
_FAILURES_IN_ROW = 3
PAUSE_SECONDS = 10
_IDS = frozenset({"session_id", "user_id"})


class Delivered(NamedTuple):
    """What one round did."""

    delivered: int
    failed: int


class Notifier:
    """Posts notifications to one address. Not to be shared between threads."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, notification: Notification) -> None:
        """Send one signed body: ids and figures, no stages. `sent_at` is signed with it, against replays.

        The header `x-notification-id` lets a receiver tell repetitions.

        Raises:
            NotDelivered: no response, or any but 2xx. The message holds no part of the response.
        """
        body = orjson.dumps(
            {
                "event": "SESSION_FINAL",
                "notification_id": notification.notification_id,
                "sent_at": datetime.now(UTC),
                "user_id": notification.user_id,
                "session_id": notification.session_id,
                "became_final_at": notification.became_final_at,
                "figures": {str(name): value for name, value in notification.session.items() if name not in _IDS},
            }
        )
        headers = {
            "content-type": "application/json",
            "user-agent": "asleep-sync",
            "x-notification-id": str(notification.notification_id),
            "x-signature": sign(self._secret, body),
        }
        send(self._session, "POST", self._url, data=body, headers=headers)

    def close(self) -> None:
        """Let the connection go."""
        self._session.close()


def deliver_due(engine: Engine, notifier: Notifier, *, should_stop: Callable[[], bool]) -> Delivered:
    """Send what is due, one batch; several processes may do so at once. No transaction is open while we wait.

    After three failures in a row the rest of the batch goes back untried: the receiver is down.

    Args:
        engine: the database.
        notifier: where to.
        should_stop: ends the batch early when it returns true.
    """
    with engine.begin() as connection:
        waiting = Outbox(connection).take(_BATCH)
    delivered = failed = in_row = 0
    while waiting and in_row < _FAILURES_IN_ROW and not should_stop():
        notification = waiting.pop(0)
        with engine.begin() as connection:  # the batch may be minutes old, and its user erased since
            is_wanted = Outbox(connection).is_still_wanted(notification.notification_id)
        if not is_wanted:
            continue
        if _deliver(engine, notifier, notification):
            delivered, in_row = delivered + 1, 0
        else:
            failed, in_row = failed + 1, in_row + 1
    if waiting:
        with engine.begin() as connection:
            ids = [notification.notification_id for notification in waiting]
            Outbox(connection).give_back(ids, seconds=0 if in_row < _FAILURES_IN_ROW else PAUSE_SECONDS)
    return Delivered(delivered, failed)


def _deliver(engine: Engine, notifier: Notifier, notification: Notification) -> bool:
    log = _log.bind(notification=notification.notification_id)
    try:
        notifier.post(notification)
    except NotDelivered as error:
        with engine.begin() as connection:
            is_parked = Outbox(connection).mark_failed(notification.notification_id, str(error))
        log.warning("notification_failed", reason=str(error), attempts=notification.attempts, parked=is_parked)
        return False
    with engine.begin() as connection:
        Outbox(connection).mark_done([notification.notification_id])
    log.info("notification_delivered", attempts=notification.attempts)
    return True
