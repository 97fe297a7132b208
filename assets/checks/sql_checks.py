"""Asset checks: all but two are a query that must return no rows. The checks of an asset are one step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from sqlalchemy import Connection, Row

from assets.metrics.monthly_summary import count_differing
from assets.ops.failures import as_dagster_failure, missing_data_failure
from resources.contract.drift import check_stored
from resources.contract.statements import CheckResult
from resources.database.resource import Database
from resources.load_sql import load_sql

MONTHS_TRIED = 500

_WARN, _ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
_FAILS_THE_RUN = "no_session_missing"
_CHECKS = {
    "sleep_sessions": {
        _FAILS_THE_RUN: _ERROR,
        "sessions_belong_to_registered_users": _ERROR,
        "sessions_end_after_they_start": _WARN,
        "every_sleep_is_in_a_night": _WARN,
        "stages_fit_their_session": _WARN,
        "responses_match_contract": _WARN,
        "webhook_events_arrive": _WARN,
        "no_event_given_up": _WARN,
        "every_user_is_found": _WARN,
        "every_user_is_synced_daily": _WARN,
    },
    "monthly_averages": {"averages_are_current": _WARN, "averages_count_every_session": _ERROR},
    "average_stats_reconciliation": {"averages_match_the_api": _WARN},
}
"""The checks of each asset: statements in `check_<name>.sql`, which hold while they return no rows."""


def rows_of_check(connection: Connection, name: str) -> Sequence[Row[Any]]:
    """Rows of `check_<name>.sql`: kind, found, since; none when the check holds.

    Args:
        connection: reads; writes nothing.
        name: of the check.
    """
    return connection.execute(load_sql(__package__, f"check_{name}")).all()


@dg.op(ins={"summarised": dg.In(dg.Nothing)}, description="Fail while a user or session is missing.")
def fail_if_data_missing(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """The check `no_session_missing` as a step, for jobs that materialise no sessions."""
    with as_dagster_failure(context), database.engine.connect() as connection:
        missing: dict[str, Any] = {row.kind: row.found for row in rows_of_check(connection, _FAILS_THE_RUN)}
        key = dg.AssetKey("sleep_sessions")
        evaluation = dg.AssetCheckEvaluation(key, _FAILS_THE_RUN, passed=not missing, metadata=missing)
        context.instance.report_runless_asset_event(evaluation)
        if missing:
            raise missing_data_failure(connection)


def _spec(asset: str, name: str) -> dg.AssetCheckSpec:
    """The check as Dagster shows it, with the comment of its statement."""
    lines = load_sql(__package__, f"check_{name}").text.splitlines()
    description = " ".join(line.removeprefix("-- ") for line in lines if line.startswith("-- "))
    return dg.AssetCheckSpec(name, asset=asset, description=description)


def _checks_of(asset: str, severities: Mapping[str, dg.AssetCheckSeverity]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"checks_of_{asset}", specs=[_spec(asset, name) for name in severities], can_subset=True)
    def step(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with as_dagster_failure(context.op_execution_context), database.engine.connect() as connection:
            failure: dg.Failure | None = None
            for name in (name for name in severities if name in selected):
                rows = rows_of_check(connection, name)
                if rows and name == _FAILS_THE_RUN:
                    failure = missing_data_failure(connection)
                found = {f"found: {row.kind}": row.found for row in rows}
                yield dg.AssetCheckResult(
                    check_name=name,
                    asset_key=asset,
                    passed=not rows,
                    severity=severities[name],
                    metadata={"found": sum(row.found for row in rows), **found},
                )
            if failure is not None:
                raise failure

    return step


@dg.asset_check(
    asset="average_stats_reconciliation",
    description="Some user-months, chosen anew each time and computed again from their sessions, are what is stored.",
)
def averages_match_sessions(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Check the last link of the chain: the API's averages, those of the stored sessions, and the table of averages."""
    with as_dagster_failure(context.op_execution_context), database.engine.begin() as connection:
        found = count_differing(connection, MONTHS_TRIED)
    metadata = {"found": found or 0, "compared": found is not None}
    return dg.AssetCheckResult(passed=not found, severity=_ERROR, metadata=metadata)


@dg.asset_check(
    asset="average_stats_reconciliation",
    description="What syncs have received in the last week is as this program assumes about the API: fields and types, "
    "relations between statistics, page size, clock, and the formula of averages. `asleep-sync doctor` checks the same "
    "with requests.",
)
def api_matches_contract(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Drift of the API, seen without a request; the report holds names of fields and types only."""
    with as_dagster_failure(context.op_execution_context), database.engine.connect() as connection:
        summaries = check_stored(connection)
    contradicted = sum(summary.result is CheckResult.CONTRADICTED for summary in summaries)
    rows = [f"| {each.result} | {each.statement} | {each.contradicted} | {each.detail} |" for each in summaries]
    report = "\n".join(["| Result | Statement | Contradictions | Found |", "|---|---|---|---|", *rows])
    metadata: dict[str, Any] = {"contradicted": contradicted, "report": dg.MetadataValue.md(report)}
    return dg.AssetCheckResult(passed=not contradicted, metadata=metadata)


checks = (
    averages_match_sessions,
    api_matches_contract,
    *(_checks_of(asset, severities) for asset, severities in _CHECKS.items()),
)
