"""What Dagster's UI shows of resources, assets and jobs, without a database."""

import json
from datetime import date

import dagster as dg
import pytest
from dagster._core.errors import DagsterResourceFunctionError
from dagster._core.remote_representation.external_data import RepositorySnap
from pydantic import SecretStr

from pipelines.definitions import build_definitions
from pipelines.settings import Settings
from resources.asleep.resource import AsleepApi

SETTINGS = Settings(
    _env_file=None,
    asleep_api_key=(SecretStr("a-secret-key"),),
    asleep_base_url="https://api.example",
    database_url=SecretStr("postgresql://someone:a-password@db.example:5433/sleep"),
)
DEFINITIONS = build_definitions(SETTINGS)
SHOWN = ("asleep_api", "database", "sync_options")


@pytest.fixture(scope="module")
def graph():
    return DEFINITIONS.resolve_asset_graph()


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")
def test_resources_show_their_fields_and_secrets_by_the_variables_name():
    """An operator checks what is configured; the key is not on the screen."""
    snapshot = RepositorySnap.from_def(DEFINITIONS.get_repository_def())
    resources = {resource.name: resource for resource in snapshot.resources}
    shown = {name: {key: json.loads(str(v)) for key, v in resources[name].configured_values.items()} for name in SHOWN}
    assert shown["asleep_api"]["base_url"] == "https://api.example"
    assert shown["asleep_api"]["key"] == "ASLEEP_API_KEY"
    assert shown["database"]["address"] == "db.example:5433/sleep"
    assert shown["sync_options"]["user_batch_size"] == SETTINGS.user_batch_size
    assert "a-secret-key" not in str(snapshot)
    assert "a-password" not in str(snapshot)
    assert all(resources[name].resource_snapshot.description for name in SHOWN)


def test_a_run_cannot_send_the_key_to_another_address():
    """The fields can be edited in the launchpad, which any person with the UI may open."""

    @dg.op
    def connect(asleep_api: dg.ResourceParam[AsleepApi]) -> str:
        return asleep_api.base_url

    @dg.job(resource_defs={"asleep_api": DEFINITIONS.resources["asleep_api"]})
    def job() -> None:
        connect()

    elsewhere = {"resources": {"asleep_api": {"config": {"base_url": "https://elsewhere.example"}}}}
    with pytest.raises(DagsterResourceFunctionError) as refused:
        job.execute_in_process(run_config=elsewhere)
    assert "base_url: resources are configured by environment variables" in str(refused.value.__cause__)
    assert job.execute_in_process().output_for_node("connect") == "https://api.example"


def test_lineage_begins_at_the_api_and_ends_at_the_analysts_views(graph):
    """Where the data come from and who reads them."""
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents["sleep_sessions"] == {"asleep_api", "users"}
    assert parents["users"] == {"user_sources"}
    assert parents["nights"] == {"sleep_sessions"}
    assert graph.get(dg.AssetKey("asleep_api")).metadata["dagster/uri"] == "https://api.example"


def test_tables_have_full_names_and_code_a_place(graph):
    """A name that can be pasted into a BI tool, and a link to the code."""
    metadata = graph.get(dg.AssetKey("sleep_sessions")).metadata
    assert metadata["dagster/table_name"] == "sleep.asleep.sleep_sessions"
    assert metadata["dagster/uri"] == "postgresql://db.example:5433/sleep"
    [reference] = metadata["dagster/code_references"].code_references
    assert reference.file_path.endswith("assets/sleep_sessions.py")


def test_partitions_start_on_the_first_day_and_in_its_month():
    """Lineage shows days that can be synced, instead of thousands of missing ones."""
    narrow = build_definitions(SETTINGS, first_day=date(2026, 1, 15)).resolve_asset_graph()
    first = {
        key.to_user_string(): narrow.get(key).partitions_def.get_first_partition_key()
        for key in narrow.get_all_asset_keys()
        if narrow.get(key).partitions_def
    }
    assert first == {
        "sleep_sessions": "2026-01-15",
        "monthly_averages": "2026-01-01",
        "parquet_export": "2026-01-01",
    }


def test_every_job_schedule_and_sensor_of_ours_has_an_owner():
    """A person to ask; Dagster takes none for sensors of failed runs."""
    repository = DEFINITIONS.get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    sensors = [sensor for sensor in repository.sensor_defs if sensor.sensor_type.name == "STANDARD"]
    unowned = [each.name for each in (*jobs, *repository.schedule_defs, *sensors) if not each.owners]
    assert unowned == []


def test_what_runs_by_itself_promises_an_age(graph):
    """A report that is no longer drawn looks like a good one."""
    ours = {"users", "sleep_sessions", "monthly_averages", "sleep_metrics", "average_stats_reconciliation"}
    promised = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy}
    assert promised == {*ours, "monthly_report"}


def test_the_checks_of_an_asset_are_one_step():
    """A step costs 0.1 s in one process and 0.4 s in processes of its own: nine checks cost as much as a small sync."""
    names = [node.name for node in DEFINITIONS.resolve_job_def("sync_sleep_sessions").nodes]
    assert sorted(names) == ["checks_of_sleep_sessions", "sleep_sessions", "users"]
    checks = DEFINITIONS.resolve_asset_graph().get_check_keys_for_assets({dg.AssetKey("sleep_sessions")})
    assert len(checks) > 5
