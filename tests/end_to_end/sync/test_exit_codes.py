"""What the command says when it ends: exit code, words, Dagster's check and metadata. Never success over a hole."""

import json
import signal

import pytest
from sqlalchemy import text

from resources.pseudonyms import pseudonym
from tests.listener import listening


def _events(deployment, kind):
    found = deployment.rows(
        "SELECT event FROM dagster.event_logs WHERE dagster_event_type = :kind ORDER BY id", kind=kind
    )
    return [json.loads(row.event) for row in found]


def _check(deployment):
    [row] = deployment.rows(
        "SELECT execution_status FROM dagster.asset_check_executions WHERE check_name = 'no_session_missing' "
        "ORDER BY id DESC LIMIT 1"
    )
    return row.execution_status


def test_all_synced_is_zero_and_some_failed_is_one_until_mended(deployment):
    """A monitor looks at the exit code only: it must know of a hole, and know when it is mended.

    A failed run is alerted as Dagster's own runs are; only a complete one sends the sign of life.
    """
    victim = deployment.api.ask("users")[0]["user_id"]
    deployment.api.ask("faults", [{"kind": "html_200", "user": victim}])
    with listening() as listener:
        settings = {"ALERT_WEBHOOK_URL": listener.url, "HEARTBEAT_URL": f"{listener.url}/beat"}
        code, said = deployment.run(**settings)
    assert [body["text"].partition(" (run")[0] for body in listener.heard] == [
        "asleep-sync: sync_sleep_sessions failed"
    ]
    assert listener.requested == []
    assert code == 1, said
    assert "not everything was synced: 1 users or sessions are missing" in said
    assert f"{pseudonym(victim)}, malformed, " in said
    assert "DagsterAssetCheck" not in said
    assert victim not in said
    assert _check(deployment) == "FAILED"
    assert len(deployment.missing_data()) == 1
    [reported] = [e for e in _events(deployment, "STEP_SUCCESS") if "report_sessions" in e["step_key"]]
    assert reported
    assert '"failures"' in json.dumps(_events(deployment, "ASSET_MATERIALIZATION")) or '"failures"' in json.dumps(
        _events(deployment, "STEP_OUTPUT")
    )
    assert deployment.run("status")[0] == 1

    deployment.api.ask("faults", method="DELETE")
    with listening() as listener:
        settings = {"ALERT_WEBHOOK_URL": listener.url, "HEARTBEAT_URL": f"{listener.url}/beat"}
        code, said = deployment.run(**settings)
    assert (listener.heard, listener.requested) == ([], ["/beat"])
    assert code == 0, said
    assert _check(deployment) == "SUCCEEDED"
    assert deployment.missing_data() == []
    assert deployment.wrong() == []
    assert deployment.run("status")[0] == 0


def test_failed_users_are_listed_up_to_a_screenful_and_named_ones_only(deployment):
    """The exit code says that some failed; whoever reads it by mail wants to know who, and not of others."""
    victim = deployment.api.ask("users")[0]["user_id"]
    deployment.api.ask("faults", [{"kind": "html_200", "user": victim}])
    with deployment.engine.begin() as connection:  # of users who are registered no more: no run mends them
        connection.execute(
            text(
                "INSERT INTO asleep.sync_failures (user_id, kind, message) "
                "SELECT 'ghost' || n, 'malformed', '[/x] of old' FROM generate_series(1, 24) AS n"
            )
        )

    code, said = deployment.run()
    assert code == 1, said
    assert "not everything was synced: 25 users or sessions are missing" in said
    assert said.count(", malformed, [/x] of old\n") == 20
    assert "… and 5 more" in said

    code, said = deployment.run("sync", "--user", victim)
    assert code == 1, said
    assert "not everything was synced: 1 users or sessions are missing" in said
    assert f"{pseudonym(victim)}, malformed, " in said
    assert "of old" not in said
    assert victim not in said


def test_a_rejected_key_exits_with_two_and_keeps_what_was_stored(deployment):
    """Nothing more can be done by us: a person has to act, and must be told on what."""
    deployment.api.ask("faults", [{"kind": "quota", "after": 40}])
    code, said = deployment.run()
    assert code == 2, said
    assert "quota" in said
    assert len(deployment.rows("SELECT FROM asleep.sleep_sessions")) > 20
    asked = deployment.api.ask("stats")["total"]
    assert asked <= 40 + 4, "only what was under way may still be asked"

    deployment.api.ask("faults", method="DELETE")
    assert deployment.run()[0] == 0
    assert deployment.wrong() == []


def test_a_sync_of_earlier_days_moves_the_first_day_back(deployment):
    """Days that were synced have partitions in the UI, without a setting to change first."""
    with deployment.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.first_day SET day = current_date - 1"))
    code, said = deployment.run()
    assert code == 0, said
    assert "Restart Dagster to see the earlier days" in said
    assert deployment.rows("SELECT FROM asleep.first_day WHERE day = current_date - 13")
    assert deployment.wrong() == []


@pytest.mark.parametrize("command", ["sync", "status", "serve", "ui --port 3999", "dev --port 3999"])
def test_a_database_that_is_away_is_two(deployment, command):
    """Refused, not a traceback."""
    away = deployment.url.rpartition("@")[0] + "@127.0.0.1:1/nowhere"
    code, said = deployment.run(*command.split(), DATABASE_URL=away)
    assert len(said.splitlines()) == 1
    assert code == 2, said
    assert "database" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["status", "users list"])
def test_a_reader_that_closes_the_pipe_gets_the_code_of_a_shell(deployment, command):
    """As `… | head` does. 1 would say that data are missing."""
    with deployment.start(*command.split()) as process:
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


def test_a_missing_key_exits_with_two_before_any_request(deployment):
    code, said = deployment.run(ASLEEP_API_KEY="")
    assert code == 2, said
    assert "ASLEEP_API_KEY" in said
    assert deployment.api.requests() == {}
