"""`asleep-sync doctor`: configuration, database and API, checked without changing anything."""

import json
import sys
from typing import Any

import click

from pipelines.cli.common import Refusal, id_of_user, read_database, read_settings


@click.command()
@click.option(
    "--user", "user_id", type=id_of_user, metavar="ID", help="Check with this user. Default: one with sessions."
)
@click.option("--probe-unknown-user", is_flag=True, help="Also request a user that does not exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(user_id: str | None, probe_unknown_user: bool, as_json: bool) -> None:
    """Check the configuration, the database, and what this program assumes about the API.

    Makes at most 5 requests about one registered user and stores nothing. Each assumption is reported as confirmed,
    contradicted, or not visible in these responses. The report holds no id, value or key: it can be pasted into a
    public issue. Exit code 0 when nothing is contradicted, 1 when something is, 2 when the API could not be checked.

    \b
    Examples:
      asleep-sync doctor
      asleep-sync doctor --json > report.json
    """
    from pipelines.definitions import asleep_api_of
    from resources.asleep.errors import AsleepError
    from resources.asleep.resource import KeyMissing
    from resources.contract.database_checks import check_database
    from resources.contract.findings import Findings, Verdict
    from resources.contract.probe import probe
    from resources.database.users.registry import user_with_most_sessions

    settings = read_settings()
    database = read_database(settings)
    database.require_migrated()
    findings = Findings()
    with database.engine.connect() as connection:
        check_database(findings, connection)
        user_id = user_id or user_with_most_sessions(connection)
    if user_id is None:
        raise Refusal("no user is registered: import users first (asleep-sync users import).")
    try:
        with asleep_api_of(settings).client(database.engine) as api:
            findings.found += probe(api, user_id, unknown_user=probe_unknown_user).found
    except KeyMissing as error:
        raise Refusal(str(error)) from None
    except AsleepError as error:
        raise Refusal(f"the API could not be checked: {error}") from None
    contradicted = [finding for finding in findings.found if finding.verdict is Verdict.CONTRADICTED]
    if as_json:
        shown: list[dict[str, Any]] = [
            {"statement": f.statement, "verdict": f.verdict, "detail": f.detail} for f in findings.found
        ]
        click.echo(json.dumps({"findings": shown, "contradicted": len(contradicted)}, indent=2))
    else:
        for f in findings.found:
            click.echo(f"{f.verdict:<12}  {f.statement}" + (f": {f.detail}" if f.detail else ""))
        click.echo(f"{len(findings.found)} statements, {len(contradicted)} contradicted.")
    sys.exit(1 if contradicted else 0)
