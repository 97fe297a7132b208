"""Which steps of a run Celery's workers execute just now, and of which of these the worker is gone."""

from dagster import DagsterEventType, DagsterInstance
from sqlalchemy import Engine

from resources.database.advisory_lock import is_held

STEPS_TAG = "asleep-sync/steps-held-by-workers"
"""On runs of which a worker has taken a step."""

STEP_TAKEN = "Taken by the Celery worker"
"""How the event begins that a worker stores when it has taken a step and holds `lock_of_step`."""

_ENDS = {
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
    DagsterEventType.STEP_SKIPPED,
}


def lock_of_step(run_id: str, step_key: str) -> str:
    """Return the name of the lock that a worker holds while it executes a step.

    Args:
        run_id: the Dagster run.
        step_key: the step.
    """
    return f"asleep-sync step {step_key} of run {run_id}"


def steps_without_worker(instance: DagsterInstance, engine: Engine, run_id: str) -> frozenset[str]:
    """Return the steps that a worker has taken and not ended, and of which no worker holds the lock.

    Args:
        instance: where events are stored.
        engine: the database of the locks.
        run_id: the Dagster run.
    """
    taken: set[str] = set()
    for entry in instance.all_logs(run_id, of_type={DagsterEventType.ENGINE_EVENT, *_ENDS}):
        if entry.step_key is None or entry.dagster_event is None:
            continue
        if entry.dagster_event.event_type in _ENDS:
            taken.discard(entry.step_key)
        elif (entry.dagster_event.message or "").startswith(STEP_TAKEN):
            taken.add(entry.step_key)
    return frozenset(step for step in taken if not is_held(engine, lock_of_step(run_id, step)))
