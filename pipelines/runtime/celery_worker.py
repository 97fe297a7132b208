"""The Celery application of workers: `asleep-sync exec -- celery -A pipelines.runtime.celery_worker worker -Q dagster`.

Lives here: the same broker settings as the executor's, and Dagster's task.  Not here: what steps do.
Celery loads an application by importing it, so this module, like `defs`, reads the environment when it is imported.
"""

from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from pipelines.observability import set_up_logs
from pipelines.runtime.executors import celery_options
from pipelines.settings import load_settings


class _Options:
    """Celery reads its configuration from attributes."""

    def __init__(self, options: dict[str, object]) -> None:
        self.__dict__.update(options)


_settings = load_settings()
set_up_logs(_settings)
_options = celery_options(_settings)

app = make_app({**_options, "config_source": _Options(_options["config_source"])})  # type: ignore[no-untyped-call]
execute_plan = create_task(app)  # type: ignore[no-untyped-call]
