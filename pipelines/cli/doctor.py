"""`asleep-sync doctor`: configuration, database and API, checked without changing anything."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipelines.cli.common import Refusal, id_of_user, open_database, read_settings, write_private


@click.command()
@click.option(
    "--user", "user_id", type=id_of_user, metavar="ID", help="Check with this user. Default: one with sessions."
)
@click.option("--probe-unknown-user", is_flag=True, help="Also request a user that does not exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--record",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the responses, redacted, to this file; `asleep-sync simulate --cassette FILE` replays it.",
)
def doctor(user_id: str | None, probe_unknown_user: bool, as_json: bool, file: Path | None) -> None:
    """Check configuration, database and API.

    Compares the API's responses with this program's assumptions. Makes at most 6 requests about one registered user
    and stores nothing. Reports each assumption as confirmed, contradicted, or not visible in these responses. The
    report contains no id, value or key: you can paste it into a public issue. A recording replaces ids, times,
    texts and numbers other than 0 and 1; it shows on which days the user has sessions, and offsets from UTC.

    Exit code 0 when nothing is contradicted, 1 when something is, 2 when the API could not be checked.

    \b
    Examples:
      asleep-sync doctor
      asleep-sync doctor --json > report.json
      asleep-sync doctor --record cassette.json
    """
    from pipelines.definitions import asleep_api_of
    from pipelines.settings import unknown_variables
    from resources.asleep.client import AsleepClient
    from resources.asleep.errors import AsleepError
    from resources.asleep.resource import KeyMissing
    from resources.contract.probe import probe
    from resources.contract.recording import CannotRedact, Recorder, cassette
    from resources.contract.statements import Findings

    findings = Findings()
    settings = read_settings()
    findings.check("configuration: every variable is known", not unknown_variables(), "see the warnings above")
    database = open_database(settings)
    user_id = _check_database(findings, database, user_id)
    check = partial(probe, unknown_user=probe_unknown_user)
    try:
        with asleep_api_of(settings).client(database.engine) as api:
            client = AsleepClient(recorder := Recorder(api.requests))
            findings.found += check(client, user_id).found
            findings.check_clock(client.clock_ahead())
        if file is not None:
            write_private(file, cassette(recorder.exchanges, check))
            click.echo(
                f"Responses recorded, redacted: {file}. Replay: asleep-sync simulate --cassette {file}", err=True
            )
    except (KeyMissing, CannotRedact) as error:
        raise Refusal(str(error)) from None
    except OSError as error:
        raise Refusal(f"{file} cannot be written ({error.strerror}).") from None
    except AsleepError as error:
        raise Refusal(f"the API could not be checked: {error}") from None
    _print(findings, as_json=as_json)
    sys.exit(1 if findings.contradicted else 0)


def _check_database(findings: Any, database: Any, user_id: str | None) -> str:
    """Check the database; return the user to check the API with."""
    from resources.contract.database_checks import check_database
    from resources.database.users.registry import Registry

    with database.engine.connect() as connection:
        check_database(findings, connection)
        user_id = user_id or Registry(connection).with_most_sessions()
    if user_id is None:
        raise Refusal("no user is registered: import users first (asleep-sync users import).")
    return user_id


def _print(findings: Any, *, as_json: bool) -> None:
    if as_json:
        shown = [{"statement": f.statement, "result": f.result, "detail": f.detail} for f in findings.found]
        click.echo(json.dumps({"findings": shown, "contradicted": len(findings.contradicted)}, indent=2))
        return
    for f in findings.found:
        click.echo(f"{f.result:<12}  {f.statement}" + (f": {f.detail}" if f.detail else ""))
    click.echo(f"{len(findings.found)} statements, {len(findings.contradicted)} contradicted.")
