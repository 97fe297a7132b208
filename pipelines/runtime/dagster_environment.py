"""The environment that `dagster.yaml` and `workspace.yaml` read."""

import contextlib
import os
from pathlib import Path

import click
from sqlalchemy import make_url

from pipelines.settings import APP_ROOT, IS_CHECKOUT, Settings, SettingsInvalid, load_settings
from resources.database.engine import database_url

DAGSTER_SCHEMA = "dagster"
OWN_HOME = APP_ROOT if IS_CHECKOUT else Path(__file__).resolve().parent
"""The folder with `dagster.yaml` and `workspace.yaml`."""
APPLICATION_NAME = "asleep-sync-dagster"
"""Marks the connections on which `dagster_storage` sets the session up."""
EVENT_BATCH_SIZE = 1000
"""Dagster stores up to this many materialisations or planned partitions of a step together. One by one, a backfill of
three years takes 17 s beside its batches; together it takes 4 s."""
NO_BETA_WARNINGS = "ignore:Class `,ignore:Function `,ignore:Parameter `"
"""Dagster warns "Parameter `…` is currently in beta" 160 times whenever it loads our definitions."""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Return the variables for Dagster's programs; Dagster's own tables lie in schema `dagster` of the database.

    Raises:
        SettingsInvalid: there is no DATABASE_URL, Dagster would refuse the folder that DAGSTER_HOME names, or
            DATA_DIRECTORY cannot be written, e.g. in a container without a volume there.
    """
    local = settings.data_directory.resolve() / "dagster"
    try:
        _make_private(settings.data_directory.resolve())
        _make_private(local)
    except OSError as error:
        raise SettingsInvalid(f"DATA_DIRECTORY: {error.filename} cannot be made ({error.strerror})") from None
    home = Path(os.environ.get("DAGSTER_HOME") or OWN_HOME).expanduser()
    if not home.is_absolute() or not home.is_dir():
        raise SettingsInvalid(
            "DAGSTER_HOME: must be the absolute path of a folder that exists; unset, it is this project's own"
        )
    url = settings.require_database_url()
    storage = make_url(database_url(url)).update_query_dict({"application_name": APPLICATION_NAME})
    return {
        "APP_ROOT": str(APP_ROOT),
        "DATABASE_URL": url,
        "DAGSTER_HOME": str(home),
        "DAGSTER_LOCAL_DIR": str(local),
        "DAGSTER_STORAGE_URL": storage.render_as_string(hide_password=False),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", NO_BETA_WARNINGS),
        "DAGSTER_EVENT_BATCH_SIZE": str(EVENT_BATCH_SIZE),
    }


class EnvironmentMissing(click.ClickException):
    """A program of Dagster's was started without its environment; its command line prints the message in one line."""

    exit_code = 2


def require_storage_url() -> str:
    """Return DAGSTER_STORAGE_URL. A program started without `asleep-sync` gets all variables from DATABASE_URL.

    Raises:
        EnvironmentMissing: there is no DATABASE_URL, or another variable is wrong.
    """
    if "DAGSTER_STORAGE_URL" not in os.environ:
        try:
            settings = load_settings()
            if settings.database_url is None:
                raise EnvironmentMissing(
                    "Dagster's programs find this project's database through `asleep-sync`: type `asleep-sync dev` for "
                    "the UI, `asleep-sync exec -- dagster …` for everything else, or set DATABASE_URL."
                )
            os.environ.update(dagster_environment(settings))
        except SettingsInvalid as error:
            raise EnvironmentMissing(f"the environment is not valid: {error}") from None
    return os.environ["DAGSTER_STORAGE_URL"]


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can enter; an existing one gets the same mode where that is possible."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o700)
