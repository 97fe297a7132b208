"""The key is nowhere, and no user appears by id in anything that Dagster stores or anybody logs."""

import io
import logging
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import pytest
from sqlalchemy import text

from pipelines.definitions import build_definitions
from pipelines.observability import LOGGER, set_up_logs
from pipelines.settings import Settings
from resources.asleep.errors import AsleepError
from resources.pseudonyms import pseudonym
from tests.integration.assets.sync.conftest import HASTY, Syncing

KEY = "k3y-that-must-not-be-seen"
FAULTS = (
    {"kind": "html_200", "endpoint": "read_session", "every": 7},
    {"kind": "reset", "every": 11},
    {"kind": "missing_user", "endpoint": "read_session", "count": 1, "message": "Unable to find the user of id"},
    {"kind": "status_400", "endpoint": "read_session", "every": 13, "message": "The format of x-user-id is invalid"},
    {"kind": "wrong_types", "every": 5},
)


@pytest.fixture
def populated(new_world):
    return new_world("--users", "6", "--days", "8", "--seed", "2", "--api-key", f"{KEY},simulated-key")


def _run_everything(world, instance, name, **options):
    """One job of the real definitions; everything said while it runs."""
    url = world.engine.url.render_as_string(hide_password=False)
    settings = Settings(
        _env_file=None,
        asleep_api_key=KEY,
        asleep_base_url=world.api.url,
        database_url=url,
        asleep_requests_per_second=2000,
        log_level="DEBUG",
        log_format="json",
        request_timeout=2,
        enable_caching=False,
    )
    said, handler = io.StringIO(), logging.StreamHandler(captured := io.StringIO())
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before = root.level, ours.handlers, ours.level, ours.propagate
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            set_up_logs(settings)
            result = (
                build_definitions(settings)
                .resolve_job_def(name)
                .execute_in_process(instance=instance, raise_on_error=False, **options)
            )
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.handlers, ours.level, ours.propagate = before[1:]
    return result, said.getvalue() + captured.getvalue()


def _stored_by_dagster(instance):
    """Every run, event and check that the instance holds, as text."""
    found = []
    for record in instance.get_run_records():
        run = record.dagster_run
        found.append(repr((run, run.tags, run.run_config)))
        found.extend(repr(event) for event in instance.all_logs(run.run_id))
    return "\n".join(found)


def _tables(world):
    """Every table of the database, as text."""
    names = world.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'asleep'")
    return "\n".join(str(world.rows(f'SELECT to_jsonb(t) FROM asleep."{row.table_name}" AS t')) for row in names)


def test_the_key_is_in_no_log_no_table_no_run_and_no_event(populated, instance):
    """A key in a log is a key on the loose. Faults on, debug logs on: everything that could be said was said."""
    first, last = populated.ago(8).date(), populated.today
    days = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    users = [pseudonym(user) for user in populated.users[:2]]
    config = {"first_day": str(first), "last_day": str(last), "users": users}
    populated.faults(*FAULTS)
    _, one = _run_everything(populated, instance, "sync_sleep_sessions", tags=days)
    _, two = _run_everything(
        populated, instance, "sync_named_users", run_config={"ops": {"sync_some_users": {"config": config}}}
    )
    populated.faults({"kind": "key_revoked", "message": "Unauthorized", "after": 3})
    refused, three = _run_everything(populated, instance, "sync_sleep_sessions", tags=days)
    assert not refused.success

    stored = _stored_by_dagster(instance)
    everything = {"logs": one + two + three, "Dagster": stored, "tables": _tables(populated)}
    assert "attempt" in everything["logs"]
    assert "sync_users" in stored
    assert len(populated.rows("SELECT FROM asleep.sleep_sessions")) > 20
    for where, text_of_it in everything.items():
        assert KEY not in text_of_it, where
    for user_id in populated.users:
        assert user_id not in everything["logs"]
        assert user_id not in stored


@pytest.mark.parametrize("kind", ["key_revoked", "reset", "timeout", "oversized", "status_500", "not_json"])
def test_the_key_is_in_no_exception_not_even_with_its_local_variables(populated, kind):
    """Error trackers send local variables along, from the deepest frame up."""
    populated.faults({"kind": kind, "mebibytes": 17})
    api = Syncing(populated.engine, populated.api.url).api(
        key=KEY, timeout_seconds=0.5 if kind == "timeout" else 5, retry_policy=replace(HASTY, broken_attempts=1)
    )
    with api.client(populated.engine) as client, pytest.raises(AsleepError) as caught:
        client.read_user(populated.users[0])
    told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())

    assert "read_user" in told
    assert KEY not in told
    assert KEY not in repr(api)


def test_a_statement_that_the_database_refuses_quotes_no_row(populated, instance):
    """Postgres quotes the row that it refuses: a night of a named person, in everybody's event log."""
    with populated.engine.begin() as connection:
        connection.execute(text("ALTER TABLE asleep.sleep_sessions ADD CONSTRAINT none CHECK (state = 'NOWHERE')"))
    day = {"dagster/partition": str(populated.ago(2).date())}
    result, said = _run_everything(populated, instance, "sync_sleep_sessions", tags=day)

    assert not result.success
    told = said + _stored_by_dagster(instance)
    assert "CheckViolation" in told
    assert "Failing row" not in told
    assert not [user_id for user_id in populated.users if user_id in told]
