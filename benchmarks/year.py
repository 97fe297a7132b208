"""What a year leaves behind: the size of each table after 365 days of schedules, sensors, webhooks and retries.

    python benchmarks/year.py [--users 10]

Every user's nights of a year are synced for real. Every job runs once, for real; what it stores in Dagster's tables is
then copied as often as the job runs in a year, or in the days for which its runs are kept, with moments shifted. Ticks
are copied for the days that `dagster.yaml` keeps them. At the end the real job removes what is too old.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text
from surroundings import KEY, NOW, Surroundings, surroundings

from assets.partitions import day_key, month_key
from pipelines.definitions import build_definitions
from pipelines.observability import set_up_logs
from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.runtime.runs import range_tags
from pipelines.settings import Settings
from resources.asleep.resource import AsleepApi
from resources.database.engine import make_engine
from resources.database.service.inbox import Inbox, IncomingEvent

DAYS = 365
KEPT_DAYS = 7
RUNS_A_YEAR = {
    "sync_sleep_sessions": DAYS + 12,
    "report_month": DAYS,
    "reconcile": 52,
    "erase_deleted_users": 52,
    "delete_old_records": KEPT_DAYS,
    "summarise_months": 4 * KEPT_DAYS,
    "retry_failures": 3 * KEPT_DAYS,
    "process_webhook_events": 150 * KEPT_DAYS,
}
"""Runs in the year, of the frequent jobs in the days for which their runs are kept. A run that handles events stays for
30 s to 5 minutes: 150 a day is a busy day."""
RUNLESS_A_YEAR = DAYS * (150 + 3)
"""Runs that report averages to the assets outside of their own events."""
TICKS_A_DAY = {
    "webhook_inbox": 17_280,
    "alert_on_run_failure": 8_640,
    "recompute_stale_months": 2_880,
    "heartbeat": 2_880,
}
TICK_DAYS = 2

COPY_RUNS = text("""
WITH copies AS (
    SELECT md5(:run_id || n)::uuid::text AS run_id, n * make_interval(secs => :seconds) AS age
    FROM generate_series(1, :copies) AS n
), copied AS (
    INSERT INTO dagster.runs (
        run_id, snapshot_id, pipeline_name, status, run_body, partition, partition_set, create_timestamp,
        update_timestamp, start_time, end_time
    )
    SELECT
        c.run_id, snapshot_id, pipeline_name, status, replace(run_body, :run_id, c.run_id), partition, partition_set,
        create_timestamp - age, update_timestamp - age, start_time, end_time
    FROM dagster.runs AS r CROSS JOIN copies AS c
    WHERE r.run_id = :run_id
), tags AS (
    INSERT INTO dagster.run_tags (run_id, key, value)
    SELECT c.run_id, key, value FROM dagster.run_tags AS t CROSS JOIN copies AS c WHERE t.run_id = :run_id
), checks AS (
    INSERT INTO dagster.asset_check_executions (
        asset_key, check_name, run_id, execution_status, evaluation_event, evaluation_event_timestamp, partition
    )
    SELECT asset_key, check_name, c.run_id, execution_status, evaluation_event, evaluation_event_timestamp, partition
    FROM dagster.asset_check_executions AS e CROSS JOIN copies AS c
    WHERE e.run_id = :run_id
)
INSERT INTO dagster.event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
SELECT
    c.run_id, replace(event, :run_id, c.run_id), dagster_event_type, timestamp - age, step_key, asset_key, partition
FROM dagster.event_logs AS l CROSS JOIN copies AS c
WHERE l.run_id = :run_id
""")
COPY_RUNLESS = text("""
INSERT INTO dagster.event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
SELECT '', event, dagster_event_type, timestamp - n * make_interval(secs => :seconds), step_key, asset_key, partition
FROM dagster.event_logs CROSS JOIN generate_series(1, :copies) AS n
WHERE run_id = ''
""")
COPY_TICKS = text("""
INSERT INTO dagster.job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)
SELECT job_origin_id, selector_id, status, type, timestamp, tick_body
FROM dagster.job_ticks CROSS JOIN generate_series(1, :copies)
WHERE job_origin_id = :name
""")
SIZES = text("""
SELECT n.nspname AS schema, c.relname AS name, pg_total_relation_size(c.oid) AS bytes, c.reltuples::bigint AS rows
FROM pg_class AS c
INNER JOIN pg_namespace AS n
    ON n.oid = c.relnamespace
WHERE n.nspname IN ('dagster', 'asleep') AND c.relkind = 'r' AND pg_total_relation_size(c.oid) >= 200000
ORDER BY n.nspname, 3 DESC
""")


def run_each_job_once(
    definitions: dg.Definitions, instance: dg.DagsterInstance, today: date
) -> Iterator[tuple[str, str]]:
    """Run every job.

    Args:
        definitions: the project's.
        instance: the instance that stores the runs.
        today: last day of the daily sync.

    Yields:
        Names of jobs and ids of their runs.
    """
    tags = {
        "sync_sleep_sessions": range_tags(day_key(today - timedelta(days=2)), day_key(today)),
        "summarise_months": range_tags(month_key(today), month_key(today)),
    }
    day = day_key(today)
    config = {
        "retry_failures": {"sync_some_users": {"config": {"first_day": day, "last_day": day, "failed_only": True}}}
    }
    for job in RUNS_A_YEAR:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, tags=tags.get(job), run_config={"ops": config.get(job, {})}, raise_on_error=False
        )
        yield job, result.run_id


def put_event(engine: Engine, world: Surroundings) -> None:
    """Put one finished night's event into the inbox, of a session whose month then waits for its averages."""
    user = world.ask("truth")["users"][0]
    session_id = user["sessions"][-1]["row"]["session_id"]
    api = AsleepApi(base_url=world.api_url, key=KEY, requests_per_second=100, max_connections=1, timeout_seconds=10)
    with api.client(engine) as client:
        result: dict[str, Any] = json.loads(client.read_session(user["user_id"], session_id).raw)
    body = {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user["user_id"], **result}}
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM asleep.sleep_sessions WHERE session_id = %s", (session_id,))
        Inbox(connection).put([IncomingEvent(json.dumps(body).encode(), {"content-type": "application/json"})])


def copy_ticks(instance: dg.DagsterInstance, connection: Connection) -> None:
    """Store the skipped ticks of the days for which they are kept."""
    for name, ticks in TICKS_A_DAY.items():
        reason = "The inbox holds nothing that is due."
        instance.create_tick(
            TickData(
                name, name, InstigatorType.SENSOR, TickStatus.SKIPPED, time.time(), skip_reason=reason, selector_id=name
            )
        )
        connection.execute(COPY_TICKS, {"name": name, "copies": ticks * TICK_DAYS})


def live_a_year(engine: Engine, settings: Settings, world: Surroundings) -> None:
    """Fill the tables.

    Args:
        engine: of the database.
        settings: the environment.
        world: the simulated API.
    """
    definitions = build_definitions(settings, dg.in_process_executor)
    today = datetime.fromisoformat(NOW).astimezone(UTC).date()
    with dg.DagsterInstance.get() as instance:
        sync = definitions.resolve_job_def("sync_sleep_sessions")
        whole = range_tags(day_key(world.days[0]), day_key(today))
        if not sync.execute_in_process(instance=instance, tags=whole).success:
            raise SystemExit("the first sync failed")
        definitions.resolve_job_def("summarise_months").execute_in_process(
            instance=instance, tags=range_tags(month_key(world.days[0]), month_key(today))
        )
        put_event(engine, world)
        with engine.begin() as connection:
            for job, run_id in list(run_each_job_once(definitions, instance, today)):
                copies = RUNS_A_YEAR[job]
                days = DAYS if copies > DAYS / 8 and job != "process_webhook_events" else KEPT_DAYS
                copied = {"run_id": run_id, "copies": copies, "seconds": days * 86_400 / copies}
                connection.execute(COPY_RUNS, copied)
            connection.execute(COPY_RUNLESS, {"copies": RUNLESS_A_YEAR, "seconds": DAYS * 86_400 / RUNLESS_A_YEAR})
            copy_ticks(instance, connection)
        definitions.resolve_job_def("delete_old_records").execute_in_process(instance=instance)


def main() -> None:
    """Print a row for each table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=10)
    options = parser.parse_args()
    with surroundings(options.users, DAYS, 0) as world, world.database() as url, TemporaryDirectory() as home:
        os.environ.update(DATA_DIRECTORY=home)
        settings = Settings(  # type: ignore[call-arg]
            _env_file=None,
            asleep_api_key=(SecretStr(KEY),),
            asleep_base_url=world.api_url,
            asleep_requests_per_second=1000.0,
            database_url=SecretStr(url),
            data_directory=Path(home),
        )
        set_up_logs(settings)
        os.environ.update(dagster_environment(settings))
        engine = make_engine(url, application_name="benchmark")
        live_a_year(engine, settings, world)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (FULL, ANALYZE)")  # removal happened at once here, not night by night
            print("| Table | Rows | MB |\n|---|--:|--:|")
            for table in connection.execute(SIZES):
                print(f"| `{table.schema}.{table.name}` | {table.rows:,} | {table.bytes / 1e6:.1f} |")
        engine.dispose()


if __name__ == "__main__":
    main()
