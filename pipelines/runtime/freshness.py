"""How old each asset may get before somebody should look.

Lives here: what the schedules promise, with room for one late run.  Not here: the schedules.
"""

from datetime import timedelta

import dagster as dg

_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
_WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=9), warn_window=timedelta(days=8))

FRESHNESS = {
    "users": _DAILY,
    "sleep_sessions": _DAILY,
    "monthly_averages": _WEEKLY,  # computed when sessions changed; that none waits is a check
    "average_stats_reconciliation": _WEEKLY,
}


def with_freshness(assets: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The same assets, each with the age that is promised for it."""
    return assets.map_asset_specs(
        lambda spec: (
            dg.apply_freshness_policy(spec, FRESHNESS[spec.key.to_user_string()])
            if spec.key.to_user_string() in FRESHNESS
            else spec
        )
    )
