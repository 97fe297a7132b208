"""Asset checks: all but two are a query that must return no rows. The checks of an asset are one step."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import dagster as dg
from sqlalchemy import Connection, Row

from assets.metrics.monthly_summary import count_differing
from assets.ops.failures import as_dagster_failure, missing_data_failure
from resources.contract.drift import check_stored
from resources.contract.statements import CheckResult
from resources.database.resource import Database
from resources.load_sql import load_sql

MONTHS_TRIED = 500


class SqlCheck(NamedTuple):
    """The statement in the first lines of `check_<name>.sql`, which holds while the query returns no rows."""

    name: str
    asset: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    fails_the_run: bool = False

    @property
    def spec(self) -> dg.AssetCheckSpec:
        """The check as Dagster shows it."""
        lines = load_sql(__package__, f"check_{self.name}").text.splitlines()
        description = " ".join(line.removeprefix("-- ") for line in lines if line.startswith("-- "))
        return dg.AssetCheckSpec(self.name, asset=self.asset, description=description)


def rows_of_check(connection: Connection, name: str) -> Sequence[Row[Any]]:
    """Rows of `check_<name>.sql`: kind, found, since; none when the check passes.

    Args:
        connection: reads; writes nothing.
        name: of the check.
    """
    return connection.execute(load_sql(__package__, f"check_{name}")).all()


@dg.op(ins={"summarised": dg.In(dg.Nothing)}, description="Fail while a user or session is missing.")
def fail_if_data_missing(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """The check `no_session_missing` as a step, for jobs that materialise no sessions."""
    with as_dagster_failure(context), database.engine.connect() as connection:
        missing: dict[str, Any] = {row.kind: row.found for row in rows_of_check(connection, "no_session_missing")}
        key = dg.AssetKey("sleep_sessions")
        evaluation = dg.AssetCheckEvaluation(key, "no_session_missing", passed=not missing, metadata=missing)
        context.instance.report_runless_asset_event(evaluation)
        if missing:
            raise missing_data_failure(connection)


def sql_checks(checks: Sequence[SqlCheck]) -> dg.AssetChecksDefinition:
    """Return the checks of one asset as one step."""
    [asset] = {check.asset for check in checks}

    @dg.multi_asset_check(name=f"checks_of_{asset}", specs=[check.spec for check in checks], can_subset=True)
    def step(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        with as_dagster_failure(context.op_execution_context), database.engine.connect() as connection:
            failure: dg.Failure | None = None
            for check in (each for each in checks if each.name in wanted):
                rows = rows_of_check(connection, check.name)
                if rows and check.fails_the_run:
                    failure = missing_data_failure(connection)
                found = {f"found: {row.kind}": row.found for row in rows}
                yield dg.AssetCheckResult(
                    check_name=check.name,
                    asset_key=asset,
                    passed=not rows,
                    severity=check.severity,
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
    return dg.AssetCheckResult(passed=not found, severity=dg.AssetCheckSeverity.ERROR, metadata=metadata)


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


_ERROR = dg.AssetCheckSeverity.ERROR
_CHECKS = (
    SqlCheck("no_session_missing", "sleep_sessions", _ERROR, fails_the_run=True),
    SqlCheck("sessions_belong_to_registered_users", "sleep_sessions", _ERROR),
    SqlCheck("sessions_end_after_they_start", "sleep_sessions"),
    SqlCheck("every_sleep_is_in_a_night", "sleep_sessions"),
    SqlCheck("stages_fit_their_session", "sleep_sessions"),
    SqlCheck("responses_match_contract", "sleep_sessions"),
    SqlCheck("webhook_events_arrive", "sleep_sessions"),
    SqlCheck("no_event_given_up", "sleep_sessions"),
    SqlCheck("every_user_is_found", "sleep_sessions"),
    SqlCheck("every_user_is_synced_daily", "sleep_sessions"),
    SqlCheck("averages_are_current", "monthly_averages"),
    SqlCheck("averages_count_every_session", "monthly_averages", _ERROR),
    SqlCheck("averages_match_the_api", "average_stats_reconciliation"),
)

checks = (
    averages_match_sessions,
    api_matches_contract,
    *(
        sql_checks([check for check in _CHECKS if check.asset == asset])
        for asset in dict.fromkeys(check.asset for check in _CHECKS)
    ),
)
