"""The environment that `dagster.yaml` and `workspace.yaml` read."""

import os
from pathlib import Path

from sqlalchemy import make_url

from pipelines.settings import APP_ROOT, Settings, SettingsInvalid
from resources.database.engine import database_url

DAGSTER_SCHEMA = "dagster"
APPLICATION_NAME = "asleep-sync-dagster"
"""Marks the connections on which `dagster_storage` sets the session up."""


class DagsterHomeInvalid(ValueError):
    """DAGSTER_HOME must be the absolute path of a folder that exists; unset, it is this project's own."""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Return the variables for Dagster's programs; Dagster's own tables lie in schema `dagster` of the database.

    Raises:
        DagsterHomeInvalid: Dagster would refuse the folder that DAGSTER_HOME names.
        SettingsInvalid: there is no DATABASE_URL, or DATA_DIRECTORY cannot be written, e.g. in a container without a
            volume there.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or APP_ROOT).expanduser()
    if not home.is_absolute() or not home.is_dir():
        raise DagsterHomeInvalid(DagsterHomeInvalid.__doc__)
    local = settings.data_directory.resolve() / "dagster"
    try:
        local.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(f"DATA_DIRECTORY: {local} cannot be made ({error.strerror})") from None
    url = settings.require_database_url()
    storage = make_url(database_url(url)).update_query_dict({"application_name": APPLICATION_NAME})
    return {
        "APP_ROOT": str(APP_ROOT),
        "DATABASE_URL": url,
        "DAGSTER_HOME": str(home),
        "DAGSTER_LOCAL_DIR": str(local),
        "DAGSTER_STORAGE_URL": storage.render_as_string(hide_password=False),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
