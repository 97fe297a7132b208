"""External assets: the API and the sources of users upstream, the analysts' views downstream."""

import dagster as dg

_VIEWS = {
    "nights": ("sleep_sessions", "One row per night for analysts, without deleted and running sessions."),
    "sleep_stage_epochs": ("sleep_sessions", "One row per 30 seconds of a session, with its stages."),
    "monthly_overview": ("monthly_averages", "One row per month: the averages of all users."),
    "user_months": ("monthly_averages", "One row per user and month, months without sleep included."),
    "data_freshness": ("sleep_sessions", "One row: how old the data are."),
    "missing_data": ("sleep_sessions", "One row per user or session that could not be synced."),
}

external_assets = [
    dg.AssetSpec(
        "asleep_api",
        description="The Asleep API, which holds every session; see docs-en.asleep.ai.",
        group_name="sources",
        kinds={"json"},
        owners=["team:data"],
    ),
    dg.AssetSpec(
        "user_sources",
        description="Where users come from: `asleep-sync users import`, and webhooks. The API cannot list users.",
        group_name="sources",
        kinds={"csv"},
        owners=["team:data"],
    ),
    *(
        dg.AssetSpec(
            name,
            deps=[upstream],
            description=f"{description} A view, current at every query.",
            group_name="views",
            kinds={"postgres", "sql"},
            owners=["team:data"],
            metadata={"dagster/table_name": f"asleep.{name}"},
        )
        for name, (upstream, description) in _VIEWS.items()
    ),
]
