"""Where steps run: DAGSTER_EXECUTOR as a Dagster executor, and the settings that Celery's two sides share."""

from typing import Any

import dagster as dg

from pipelines.settings import Settings, SettingsInvalid

MAX_PROCESSES = 4
"""Of one run under `multiprocess`: steps share the rate limit, so more processes only take more memory."""

PRELOADED = ["pipelines.definitions"]
QUEUE = "dagster"


def executor_for(settings: Settings) -> dg.ExecutorDefinition:
    """Return the executor that DAGSTER_EXECUTOR names.

    Raises:
        SettingsInvalid: what it needs is not configured or not installed.
    """
    if settings.dagster_executor == "multiprocess":
        forkserver = {"forkserver": {"preload_modules": PRELOADED}}
        return dg.multiprocess_executor.configured({"max_concurrent": MAX_PROCESSES, "start_method": forkserver})
    try:
        if settings.dagster_executor == "celery":
            return _celery(celery_options(settings))
        if settings.dagster_executor == "kubernetes":
            from dagster_k8s import k8s_job_executor

            return k8s_job_executor
    except ImportError:
        name = settings.dagster_executor
        raise SettingsInvalid(f"DAGSTER_EXECUTOR: {name} needs the extra: pip install 'asleep-sync[{name}]'") from None
    return dg.in_process_executor


def celery_options(settings: Settings) -> dict[str, Any]:
    """Return what both sides of the broker must agree on, in the form that `dagster_celery` takes.

    When a worker's child process dies, the message of its step goes back to the queue at once. When the whole worker
    dies, it does so after the visibility time-out; long before that, run monitoring fails the run (`run_launcher.py`).
    """
    if settings.celery_broker_url is None:
        raise SettingsInvalid("CELERY_BROKER_URL: required when DAGSTER_EXECUTOR is celery, e.g. redis://broker:6379/0")
    url = settings.celery_broker_url.get_secret_value()
    return {
        "broker": url,
        "backend": url,
        "config_source": {
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "worker_prefetch_multiplier": 1,
            "broker_connection_retry_on_startup": True,
            "result_expires": 86_400,
            "broker_transport_options": {
                "visibility_timeout": settings.celery_visibility_timeout_seconds,
                "unacked_restore_throttle": 1,
            },
        },
    }


def _celery(options: dict[str, Any]) -> dg.ExecutorDefinition:
    from dagster_celery import celery_executor

    @dg.configured(celery_executor, config_schema={})
    def celery(_: Any) -> dict[str, Any]:
        """Keep the broker's address, which may hold a password, out of the configuration that Dagster stores."""
        return options

    return celery
