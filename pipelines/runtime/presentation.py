"""What the UI shows of every asset beside its own metadata: the age it may reach, the places of table and code."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from pipelines.runtime.resources import database_address
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
        settings: the environment, which says where the tables are.
    """
    address = database_address(settings)
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
