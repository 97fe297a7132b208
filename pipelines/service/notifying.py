"""The thread that delivers notifications while the service runs."""

import threading

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pipelines.service.options import ServiceOptions
from resources.database.service.outbox import turn_off, turn_on
from resources.notifications.sender import Notifier, deliver_due

_log = structlog.get_logger("asleep_sync.notify")


class Notifying(threading.Thread):
    """Delivers what is due every few seconds; several workers share the work."""

    def __init__(self, engine: Engine, options: ServiceOptions) -> None:
        super().__init__(name="notifying", daemon=True)
        self._engine = engine
        self._options = options
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Turn the switch, then deliver until `stop` is called; while the database is down, wait."""
        url, secret = self._options.notify_url, self._options.notify_secret
        notifier = Notifier(url, secret) if url and secret else None
        is_switched = False
        while not self._stop_asked.is_set():
            is_idle = True
            try:
                if not is_switched:
                    self._switch(wanted=notifier is not None)
                    is_switched = True
                if notifier is None:
                    return
                is_idle = sum(deliver_due(self._engine, notifier, should_stop=self._stop_asked.is_set)) == 0
            except SQLAlchemyError as error:
                _log.warning("outbox_away", kind=type(error).__name__)
            except Exception:  # noqa: BLE001 logged with its trace, and tried again
                # A mistake of ours must not end the deliveries of a whole process: what was claimed comes back.
                _log.exception("notifying_failed")
            if is_idle:
                self._stop_asked.wait(self._options.notify_every_seconds)
        if notifier is not None:
            notifier.close()

    def stop(self) -> None:
        """Finish the delivery under way, then end."""
        self._stop_asked.set()
        self.join()

    def _switch(self, *, wanted: bool) -> None:
        with self._engine.begin() as connection:
            (turn_on if wanted else turn_off)(connection)
