"""Recompute the metrics of stale periods, for the asset `sleep_metrics` and for jobs that sync some users only."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """What the environment decides about metrics."""

    free_days: frozenset[int]
    """ISO weekdays without work of users that have none of their own."""


def recompute_metrics(engine: Engine, options: MetricsOptions) -> dict[str, int]:
    """Recompute every stale period; returns what became of them, as the asset's metadata.

    Args:
        engine: the database.
        options: which days are free.
    """
    from assets.metrics.sleep_metrics import compute_metrics

    return compute_metrics(engine, datetime.now(UTC).date(), options.free_days)._asdict()
