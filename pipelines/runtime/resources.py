"""The resources as Dagster's UI shows them: name, description and fields; a secret appears as its variable's name.

They are configured by environment variables. The fields in the UI are for reading: a run with other values fails, so
that the account's key cannot be sent elsewhere from a browser.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from assets.ops.batches import SyncOptions
from pipelines.settings import Settings
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


class ShownResource(dg.ConfigurableResource[Any]):
    """A resource made by the settings, whose fields only show what they are."""

    def create_resource(self, context: dg.InitResourceContext) -> Any:  # noqa: ARG002 Dagster passes it
        """Return the resource.

        Raises:
            Failure: a run was launched with other values.
        """
        if changed := [name for name, value in self.values().items() if getattr(self, name) != value]:
            raise dg.Failure(
                f"{', '.join(changed)}: resources are configured by environment variables, not by a run. "
                "Launch the run without a section `resources`.",
                allow_retries=False,
            )
        return self.made()

    @classmethod
    def values(cls) -> Mapping[str, Any]:
        """Return the fields as the settings have them."""
        return {}

    @classmethod
    def made(cls) -> Any:
        """Return what assets and ops receive."""


class AsleepApiResource(ShownResource):
    """The Asleep API, behind one rate limit for all processes and machines."""

    base_url: str = Field(description="ASLEEP_BASE_URL")
    key: str = Field(description="Name of the variable that holds the key")
    requests_per_second: float = Field(description="ASLEEP_REQUESTS_PER_SECOND")
    max_connections: int = Field(description="MAX_CONNECTIONS")
    timeout_seconds: float = Field(description="REQUEST_TIMEOUT")


class DatabaseResource(ShownResource):
    """Postgres, where everything is stored."""

    address: str = Field(description="Host, port and database of DATABASE_URL")
    url: str = Field(description="Name of the variable that holds the URL with its password")


class SyncOptionsResource(ShownResource):
    """How a sync goes about its work."""

    user_batch_size: int = Field(description="USER_BATCH_SIZE: users of one step")
    cache_ttl_seconds: float = Field(description="CACHE_TTL_SECONDS: users synced within it are skipped; 0: none")
    detail: str = Field(description="SYNC_DETAIL: full or statistics")


def shown_resources(
    settings: Settings, api: AsleepApi, database: Database, options: SyncOptions
) -> dict[str, ShownResource]:
    """Return the resources with fields to read.

    Args:
        settings: the environment.
        api: what `asleep_api` gives to a step.
        database: what `database` gives to a step.
        options: what `sync_options` gives to a step.
    """
    api_values = {
        "base_url": api.base_url,
        "key": "ASLEEP_API_KEY",
        "requests_per_second": api.requests_per_second,
        "max_connections": api.max_connections,
        "timeout_seconds": api.timeout_seconds,
    }
    database_values = {"address": database_address(settings), "url": "DATABASE_URL"}
    return {
        "asleep_api": _bound(AsleepApiResource, api, api_values),
        "database": _bound(DatabaseResource, database, database_values),
        "sync_options": _bound(SyncOptionsResource, options, asdict(options)),
    }


def _bound(shown: type[ShownResource], made: Any, values: Mapping[str, Any]) -> ShownResource:
    """Bind an object to its shown fields by a class: Dagster makes new instances from fields alone."""

    class Bound(shown):  # type: ignore[valid-type, misc]
        @classmethod
        def values(cls) -> Mapping[str, Any]:
            return values

        @classmethod
        def made(cls) -> Any:
            return made

    Bound.__name__, Bound.__qualname__, Bound.__doc__ = shown.__name__, shown.__qualname__, shown.__doc__
    return cast("ShownResource", Bound(**values))


def database_address(settings: Settings) -> str:
    """Return host, port and database of DATABASE_URL, without user name and password."""
    if settings.database_url is None:
        return "not configured"
    parts = urlsplit(settings.database_url.get_secret_value())
    return f"{parts.netloc.rpartition('@')[2]}/{parts.path.lstrip('/')}"
