"""How long data that should go are kept. The values come from the settings, never from a run's configuration.

Everyone who reaches Dagster's UI can write a run's configuration, and a shorter grace would erase people.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """The Dagster resource `retention`."""

    erasure_grace: timedelta = timedelta(days=30)
    """Of a user found gone at the source, before the user's data are erased here."""
    events: timedelta = timedelta(days=30)
    """Of webhook events that were handled or given up."""
