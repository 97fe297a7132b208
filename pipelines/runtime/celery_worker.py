"""The Celery application of workers: `asleep-sync exec -- celery -A pipelines.runtime.celery_worker worker -Q dagster`.

Celery loads an application by importing it, so this module, like `defs`, reads the environment when it is imported.
"""

import json
from types import SimpleNamespace
from typing import Any

from celery import Task
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, deserialize_value, serialize_value
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from pipelines.observability import set_up_logs
from pipelines.runtime.executors import celery_options
from pipelines.runtime.run_launcher import STEP_TAKEN, STEPS_TAG, lock_of_step
from pipelines.settings import load_settings
from resources.database.advisory_lock import advisory_lock
from resources.database.engine import make_engine

_settings = load_settings()
set_up_logs(_settings)


class LockedStep(Task):  # type: ignore[misc]
    """A step that holds its own lock while it runs, so that run monitoring detects a lost worker."""

    def __call__(self, execute_step_args_packed: Any, executable_dict: Any) -> list[str]:
        """Run the step, unless its run has ended; of a step that was done before, return the stored events."""
        arguments: Any = deserialize_value(json.dumps(execute_step_args_packed))
        [step_key] = arguments.step_keys_to_execute
        engine = make_engine(_settings.require_database_url(), application_name="asleep-sync celery step", pool_size=1)
        try:
            with (
                DagsterInstance.from_ref(arguments.instance_ref) as instance,
                advisory_lock(engine, lock_of_step(arguments.run_id, step_key)),
            ):
                run = instance.get_run_by_id(arguments.run_id)
                if run is None or run.is_finished or run.status is DagsterRunStatus.CANCELING:
                    return []
                if stored := _events_of_done_step(instance, run, step_key):
                    return stored
                instance.add_run_tags(run.run_id, {STEPS_TAG: "true"})
                message = f"{STEP_TAKEN} {self.request.hostname}."
                instance.report_engine_event(message, run, step_key=step_key)
                events: list[str] = super().__call__(execute_step_args_packed, executable_dict)
                return events
        finally:
            engine.dispose()


def _events_of_done_step(instance: DagsterInstance, run: DagsterRun, step_key: str) -> list[str]:
    """The events of a step that succeeded before its worker could say so; empty for any other."""
    events = [e.dagster_event for e in instance.all_logs(run.run_id) if e.dagster_event and e.step_key == step_key]
    return [serialize_value(event) for event in events] if any(event.is_step_success for event in events) else []


_options = celery_options(_settings)

app = make_app(  # type: ignore[no-untyped-call]
    {**_options, "config_source": SimpleNamespace(**_options["config_source"]), "task_cls": LockedStep}
)
execute_plan = create_task(app)  # type: ignore[no-untyped-call]
