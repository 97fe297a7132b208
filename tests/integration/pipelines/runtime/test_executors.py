"""Where steps run is a matter of configuration only, and the deploy files fit Dagster's own schemas."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_k8s import K8sRunLauncher
from pydantic import SecretStr
from sqlalchemy import Engine

from pipelines.runtime.executors import executor_for
from pipelines.settings import Settings, SettingsInvalid
from tests.integration.pipelines.runtime.conftest import definitions_for

DEPLOY = Path(__file__).resolve().parents[4] / "deploy"
BROKER = SecretStr("redis://:hush@broker:6379/0")


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("in_process", "in_process"),
        ("multiprocess", "multiprocess"),
        ("celery", "celery"),
        ("kubernetes", "k8s"),
    ],
)
def test_one_variable_chooses_the_executor_of_every_job(engine: Engine, name: str, shown: str):
    """No code changes from a laptop to a fleet."""
    definitions = definitions_for(engine, "http://127.0.0.1:9", dagster_executor=name, celery_broker_url=BROKER)

    executors = {job.executor_def.name for job in definitions.resolve_all_job_defs()}

    assert executors == {shown}


def test_celery_without_a_broker_is_refused_at_the_start():
    """Otherwise every step would look for a RabbitMQ on this machine, for ever."""
    with pytest.raises(SettingsInvalid, match="CELERY_BROKER_URL: required"):
        executor_for(settings(dagster_executor="celery"))


def test_the_brokers_password_is_not_in_the_executors_configuration():
    """Dagster stores and shows the configuration of runs."""
    executor = executor_for(settings(dagster_executor="celery", celery_broker_url=BROKER))

    assert "hush" not in repr(vars(executor))
    assert "hush" not in str(executor.config_schema.as_field().default_value_as_json_str)


def test_the_helm_values_fit_dagsters_schemas():
    """A value with a typing mistake would be found by the cluster only, at night."""
    values = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())

    extra = process_config(dagster_instance_config_schema(), values["additionalInstanceConfig"])
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    config = {
        "env_secrets": [secret["name"] for secret in launcher["envSecrets"]],
        "run_k8s_config": {
            "container_config": launcher["runK8sConfig"]["containerConfig"],
            "job_spec_config": launcher["runK8sConfig"]["jobSpecConfig"],
        },
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
    }
    checked = process_config(dg.Field(K8sRunLauncher.config_type()).config_type, config)
    assert extra.success, extra.errors
    assert checked.success, checked.errors


def test_the_instance_of_the_cluster_and_of_one_machine_agree():
    """Pools decide that two syncs do not run at once; a cluster without them would ask everything twice."""
    one_machine = yaml.safe_load((DEPLOY.parent / "dagster.yaml").read_text())
    values = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())

    for name in ("nux", "freshness", "python_logs", "run_retries"):
        assert values["additionalInstanceConfig"][name] == one_machine[name]
    assert _concurrency(values) == one_machine["concurrency"]


def _concurrency(values: dict[str, Any]) -> dict[str, Any]:
    """What the chart writes into `dagster.yaml`."""
    pools, runs = values["concurrency"]["pools"], values["concurrency"]["runs"]
    assert (values["concurrency"]["enabled"], set(pools), set(runs)) == (
        True, {"granularity", "defaultLimit"}, {"maxConcurrentRuns"},
    )  # fmt: skip
    return {
        "pools": {"granularity": pools["granularity"], "default_limit": pools["defaultLimit"]},
        "runs": {"max_concurrent_runs": runs["maxConcurrentRuns"]},
    }


def test_the_chart_adds_nothing_that_dagster_refuses_beside_it(tmp_path: Path):
    """The chart writes a queue and retries of its own into the same file, unless its values prevent that."""
    values = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
    daemon, extra = values["dagsterDaemon"], values["additionalInstanceConfig"]
    monitoring = daemon["runMonitoring"]
    rendered = {
        "telemetry": values["telemetry"],
        "concurrency": _concurrency(values),
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": {
                "dequeue_interval_seconds": daemon["runCoordinator"]["config"]["queuedRunCoordinator"][
                    "dequeueIntervalSeconds"
                ]
            },
        },
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
        },
        "retention": {
            kind: {"purge_after_days": values["retention"][kind]["purgeAfterDays"]} for kind in ("schedule", "sensor")
        },
    }
    assert daemon["runCoordinator"]["enabled"]
    assert not daemon["runRetries"]["enabled"]
    assert rendered.keys().isdisjoint(extra)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**rendered, **extra}))

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_the_workers_of_the_compose_file_listen_where_steps_are_sent():
    """A run whose steps go into a queue without a worker waits for ever."""
    files = yaml.safe_load((DEPLOY / "celery" / "compose.yaml").read_text())

    worker = files["services"]["worker"]
    assert "-A pipelines.runtime.celery_worker worker -Q dagster" in worker["command"]
    assert files["services"]["daemon"]["environment"]["DAGSTER_EXECUTOR"] == "celery"
