"""The weekly check notices that the API is another than assumed, without a request."""

import dagster as dg
from sqlalchemy import text

from assets.average_stats_reconciliation import average_stats_reconciliation
from assets.checks.sql_checks import api_matches_contract
from assets.sync.sync_batch import Mode
from pipelines.cli.status import show_status
from pipelines.settings import Settings
from resources.contract.drift import check_stored
from resources.contract.statements import CheckResult
from resources.database.resource import Database

DEVIATIONS = {
    "stat: `sleep_efficiency` is a share of 1, not a percentage": ("--sleep-efficiency", "percentage"),
    "stat: stage latencies count from sleep onset": ("--stage-latency", "from_start"),
    "average-stats: ratios are ratios of sums": ("--average-ratios", "mean"),
    "list: a page of fewer than `limit` rows is the last one": ("--page-cap", "10"),
    "clock: the API's clock is within 15 minutes of the database's": ("--clock-ahead", "7200"),
}
UNKNOWN_FIELDS = {
    "list row: fields and types are those of the contract": ("list_sessions", "sleep_session_list.0.mood"),
    "session: fields and types are those of the contract": ("read_session", "stat.heart_rate"),
    "average-stats: fields and types are those of the contract": ("average_stats", "average_stats.heart_rate"),
}


def contradicted(world) -> set[str]:
    with world.engine.connect() as connection:
        summaries = check_stored(connection)
    return {each.statement for each in summaries if each.result is CheckResult.CONTRADICTED}


def results(world) -> set[CheckResult]:
    with world.engine.connect() as connection:
        return {each.result for each in check_stored(connection)}


def check(world, instance) -> dg.AssetCheckEvaluation:
    url = world.engine.url.render_as_string(hide_password=False)
    result = dg.materialize(
        [average_stats_reconciliation, api_matches_contract],
        selection=dg.AssetSelection.checks(api_matches_contract),
        resources={
            "database": Database(lambda: url),
            "asleep_api": None,
            "sync_options": None,
            "metrics_options": None,
        },
        instance=instance,
    )
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def test_an_api_that_keeps_the_contract_raises_no_alarm_and_old_responses_confirm_nothing(new_world, instance):
    """A check that warns every week is not read; one that stays green on old data hides that nothing was checked."""
    world = new_world("--users", "20", "--days", "30")
    assert results(world) == {CheckResult.NOT_VISIBLE}
    world.sync()
    world.sync(mode=Mode.RECONCILE)
    world.api.reset()

    assert contradicted(world) == set()
    evaluation = check(world, instance)
    assert evaluation.passed
    assert "| confirmed | stat: `time_in_sleep` is" in evaluation.metadata["report"].value
    assert world.api.requests() == {}

    with world.engine.begin() as connection:
        for column in ("sleep_sessions.updated_at", "api_accounts.noted_at", "sync_batches.started_at"):
            table, name = column.split(".")
            connection.execute(text(f"UPDATE asleep.{table} SET {name} = {name} - interval '9 days'"))
    assert results(world) == {CheckResult.NOT_VISIBLE}


def test_every_deviation_is_named_without_ids_or_values(new_world, instance, capsys):
    """An operator reads it in Dagster's UI and in `asleep-sync status`, and can paste it into an issue."""
    world = new_world("--users", "20", "--days", "30", *(option for pair in DEVIATIONS.values() for option in pair))
    changes = [{"kind": "wrong_types", "endpoint": e, "changes": {field: 61}} for e, field in UNKNOWN_FIELDS.values()]
    world.faults(*changes)
    world.sync()
    world.sync(mode=Mode.RECONCILE)

    assert contradicted(world) >= {*DEVIATIONS, *UNKNOWN_FIELDS}
    evaluation = check(world, instance)
    assert not evaluation.passed
    report = evaluation.metadata["report"].value
    assert "stat.heart_rate: unknown field" in report
    show_status(world.engine, Settings())
    shown = capsys.readouterr().out
    assert "Contradicts the API's contract" in shown
    ids = world.rows("SELECT session_id, user_id FROM asleep.sleep_sessions")
    assert not [row for row in ids if row.session_id in report + shown or row.user_id in report + shown]
