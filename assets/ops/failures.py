"""Errors of API and database as Dagster failures, in one place; the error classes decide which ones are permanent.

A permanent one is never retried. Dagster's own retry policy of an op is not used: it takes the cancelling of a run for
a failure, tries the step again, and the cancelled run ends as a success.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from resources.asleep.errors import AsleepError, NoContact, Rejected
from resources.asleep.resource import KeyMissing
from resources.database.migrate import NotMigrated
from resources.database.session_settings import DatabaseUnsuitable
from resources.database.sync.run_health import read_missing_data

NO_RUN_RETRY = {"dagster/max_retries": "0"}
STOPPED = "asleep-sync/stopped"  # tag of a refused run, value `<run id> <kind>`: its other steps send no request
REFUSED = "asleep-sync/refused"  # tag of the same runs, value `true`: by it automation finds them, and waits
MISSING = "missing"  # key of the failure's metadata: how many users or sessions are missing
PERMANENT = "permanent"  # key of the failure's metadata: the kind of a failure that a retry cannot fix
MAX_RETRIES = 2
FIRST_PAUSE_SECONDS = 5


@contextmanager
def as_dagster_failure(context: dg.OpExecutionContext) -> Iterator[None]:
    """Turn an error into a `Failure` that names the next step, and stop every retry when none can help.

    Three mechanisms retry in Dagster: the op's policy (stopped by `allow_retries=False`), the run's (stopped by
    a tag), and automation (which looks for another, see `pipelines.runtime.runs`). Only what time can fix keeps its
    retries: the API or the database being away. Once a step was refused, the run's other steps fail unasked.
    """
    try:
        _refuse_if_stopped(context)
        yield
    except (Rejected, KeyMissing, NotMigrated, DatabaseUnsuitable) as error:
        kind = getattr(error, "kind", "configuration")
        context.instance.add_run_tags(context.run_id, {**NO_RUN_RETRY, **stopped(context.run_id, kind)})
        raise dg.Failure(str(error), metadata={PERMANENT: kind}, allow_retries=False) from None
    except (OperationalError, InterfaceError, DagsterPostgresException) as error:
        original = getattr(error.__cause__ if isinstance(error, DagsterPostgresException) else error, "orig", None)
        reason = str(original).strip().splitlines()[0] if original else "no reason given"
        raise dg.Failure(
            f"The database could not be used ({reason}). What was written before is safe; the next run continues.",
            metadata={"kind": "database"},
        ) from None
    except DBAPIError as error:  # its text may quote a row
        kind = f"{type(error.orig).__name__} {getattr(error.orig, 'pgcode', '')}".strip()
        raise dg.Failure(f"The database refused a statement ({kind}).", allow_retries=False) from None
    except (dg.Failure, AsleepError):
        raise
    except Exception as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", metadata={"kind": "bug"}, allow_retries=False) from error


@contextmanager
def retry_step(context: dg.OpExecutionContext) -> Iterator[None]:
    """Let the step be tried again after 5 s, then after 10 s, when its failure may pass with time."""
    try:
        yield
    except (dg.Failure, AsleepError) as error:
        is_permanent = isinstance(error, dg.Failure) and not error.allow_retries
        if is_permanent or context.retry_number >= MAX_RETRIES:
            raise
        pause = FIRST_PAUSE_SECONDS * 2**context.retry_number
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=pause) from error


def stopped(run_id: str, kind: str) -> dict[str, str]:
    """Tags of a run that was refused; automation waits after a refusal, not after a network failure.

    Args:
        run_id: of the run.
        kind: of the error that stopped the run.
    """
    return {STOPPED: f"{run_id} {kind}"} | ({} if kind == NoContact.kind else {REFUSED: "true"})


def _refuse_if_stopped(context: dg.OpExecutionContext) -> None:
    run = context.instance.get_run_by_id(context.run_id)
    run_id, _, kind = (run.tags.get(STOPPED, "") if run else "").partition(" ")
    if run_id == context.run_id:
        message = "An earlier step of this run was refused; see its message."
        raise dg.Failure(message, metadata={PERMANENT: kind}, allow_retries=False)


def missing_data_failure(connection: Connection, user_ids: Sequence[str] = ()) -> dg.Failure:
    """The failure of a run while data of these users, or of any, are missing: how much, the first, and what to type.

    Args:
        connection: reads; writes nothing.
        user_ids: whose data count; empty for all users.
    """
    waiting, missing = read_missing_data(connection, user_ids)
    first = [f" First: user {m.user}, {m.reason.rstrip('.')}." for m in missing[:1]]
    return dg.Failure(
        f"{waiting} users or sessions are missing.{''.join(first)} The hourly retry reads them again; "
        "`asleep-sync retry` does so now, `asleep-sync status` lists them.",
        metadata={MISSING: waiting},
        allow_retries=False,
    )
