"""What Dagster's UI shows: of assets their age, table and code; of resources their fields, a secret by its variable.

Resources are configured by environment variables. Their fields in the UI are for reading: a run with other values
fails, so that the account's key cannot be sent elsewhere from a browser.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from pipelines.settings import Settings

TABLE_NAME = "dagster/table_name"
_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
_WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=9), warn_window=timedelta(days=8))

FRESHNESS = {
    "users": _DAILY,
    "sleep_sessions": _DAILY,
    "monthly_averages": _WEEKLY,  # computed when sessions changed; that none waits is a check
    "sleep_metrics": _WEEKLY,
    "average_stats_reconciliation": _WEEKLY,
    "monthly_report": _DAILY,
}


def presented(assets: Iterable[dg.AssetsDefinition | dg.AssetSpec], settings: Settings) -> Sequence[Any]:
    """Return the assets with freshness, `dagster/uri`, full table names and code references.

    Args:
        assets: as they are defined.
        settings: the environment.
    """
    address = address_of_database(settings)
    database = address.rpartition("/")[2]

    def shown(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        if name in FRESHNESS:
            spec = dg.apply_freshness_policy(spec, FRESHNESS[name])
        if name == "asleep_api":
            return spec.merge_attributes(metadata={"dagster/uri": settings.asleep_base_url})
        table = spec.metadata.get(TABLE_NAME)
        if table is None or settings.database_url is None:
            return spec
        place = {TABLE_NAME: f"{database}.{table}", "dagster/uri": f"postgresql://{address}"}
        return spec.merge_attributes(metadata=place)

    specs = [shown(each) if isinstance(each, dg.AssetSpec) else each.map_asset_specs(shown) for each in assets]
    return dg.with_source_code_references(specs)


def shown_resource(made: object, description: str, **shown: tuple[str | float, str]) -> dg.ResourceDefinition:
    """Return a resource with fields to read.

    Args:
        made: what it gives to a step.
        description: in the UI.
        shown: value and description of each field.
    """
    fields = {name: dg.Field(type(value), default_value=value, description=of) for name, (value, of) in shown.items()}

    def resource_of_the_environment(context: dg.InitResourceContext) -> object:
        if changed := [name for name, field in fields.items() if context.resource_config[name] != field.default_value]:
            raise dg.Failure(
                f"{', '.join(changed)}: resources are configured by environment variables, not by a run. "
                "Launch the run without a section `resources`.",
                allow_retries=False,
            )
        return made

    return dg.ResourceDefinition(resource_of_the_environment, config_schema=fields, description=description)


def address_of_database(settings: Settings) -> str:
    """Return host, port and database of DATABASE_URL, without user name and password."""
    if settings.database_url is None:
        return "not configured"
    parts = urlsplit(settings.database_url.get_secret_value())
    return f"{parts.netloc.rpartition('@')[2]}/{parts.path.lstrip('/')}"
