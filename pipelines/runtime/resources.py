"""The resources as Dagster's UI shows them: description and fields; a secret appears as its variable's name.

They are configured by environment variables. The fields in the UI are for reading: a run with other values fails, so
that the account's key cannot be sent elsewhere from a browser.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import dagster as dg

from assets.ops.batches import SyncOptions
from pipelines.settings import Settings
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


class Shown(NamedTuple):
    """A field to read."""

    value: str | int | float
    description: str


def shown_resource(made: object, description: str, fields: Mapping[str, Shown]) -> dg.ResourceDefinition:
    """Return a resource with fields to read.

    Args:
        made: what assets and ops receive.
        description: of the resource.
        fields: by name.
    """

    def resource_of_the_environment(context: dg.InitResourceContext) -> object:
        if changed := [name for name, field in fields.items() if context.resource_config[name] != field.value]:
            raise dg.Failure(
                f"{', '.join(changed)}: resources are configured by environment variables, not by a run. "
                "Launch the run without a section `resources`.",
                allow_retries=False,
            )
        return made

    schema: dict[str, Any] = {
        name: dg.Field(type(field.value), default_value=field.value, description=field.description)
        for name, field in fields.items()
    }
    return dg.ResourceDefinition(resource_of_the_environment, config_schema=schema, description=description)


def shown_resources(
    settings: Settings, api: AsleepApi, database: Database, options: SyncOptions
) -> dict[str, dg.ResourceDefinition]:
    """Return the resources with fields to read.

    Args:
        settings: the environment.
        api: what `asleep_api` gives to a step.
        database: what `database` gives to a step.
        options: what `sync_options` gives to a step.
    """
    return {
        "asleep_api": shown_resource(
            api,
            "The Asleep API, behind one rate limit for all processes and machines.",
            {
                "base_url": Shown(api.base_url, "ASLEEP_BASE_URL"),
                "key": Shown("ASLEEP_API_KEY", "Name of the variable that holds the key"),
                "requests_per_second": Shown(api.requests_per_second, "ASLEEP_REQUESTS_PER_SECOND"),
                "max_connections": Shown(api.max_connections, "MAX_CONNECTIONS"),
                "timeout_seconds": Shown(api.timeout_seconds, "REQUEST_TIMEOUT"),
            },
        ),
        "database": shown_resource(
            database,
            "Postgres, where everything is stored.",
            {
                "address": Shown(database_address(settings), "Host, port and database of DATABASE_URL"),
                "url": Shown("DATABASE_URL", "Name of the variable that holds the URL with its password"),
            },
        ),
        "sync_options": shown_resource(
            options,
            "How a sync goes about its work.",
            {
                "user_batch_size": Shown(options.user_batch_size, "USER_BATCH_SIZE: users of one step"),
                "cache_ttl_seconds": Shown(
                    options.cache_ttl_seconds, "CACHE_TTL_SECONDS: users synced within it are skipped; 0: none"
                ),
                "detail": Shown(options.detail, "SYNC_DETAIL: full or statistics"),
            },
        ),
    }


def database_address(settings: Settings) -> str:
    """Return host, port and database of DATABASE_URL, without user name and password."""
    if settings.database_url is None:
        return "not configured"
    parts = urlsplit(settings.database_url.get_secret_value())
    return f"{parts.netloc.rpartition('@')[2]}/{parts.path.lstrip('/')}"
