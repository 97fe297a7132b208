"""The table of metrics of users' weeks and months; each column's comment holds its definition."""

from sqlalchemy import Boolean, CheckConstraint, Date, Double, Index, Integer, Table, Text, Time, func, text
from sqlalchemy.dialects.postgresql import ARRAY, SMALLINT

from resources.database.schema.metadata import Timestamp, key, metadata, optional, required
from resources.database.schema.session_columns import (
    AS_OF,
    CLOCKS_OF_NIGHT,
    EFFICIENCY_OF_NIGHT,
    MEANS_OF_NIGHT,
    NIGHT_COUNTS,
)

_JETLAG_RULE = "month only; null below 2 free and 3 work nights. Alarms and shifts are not known"

sleep_metrics = Table(
    "sleep_metrics",
    metadata,
    key("user_id", Text, "The user"),
    key("period", Text, "week, from Monday, or month"),
    key("period_start", Date, "First date of the period; dates are those of waking up"),
    required("period_end", Date, "Last date of the period"),
    required("is_complete", Boolean, "The period's last date lies before as_of"),
    required("as_of", Date, AS_OF),
    required("recorded_nights", Integer, "Dates with a main sleep"),
    *(required(name, Integer, meaning) for name, meaning in NIGHT_COUNTS),
    required("naps", Integer, "Sleep episodes beside the main sleep of their date"),
    optional("coverage", Double, "recorded_nights / days"),
    *(
        column
        for name, meaning in MEANS_OF_NIGHT
        for column in (
            optional(f"avg_{name}", Double, f"Mean. {meaning}"),
            optional(f"sd_{name}", Double, f"Sample standard deviation; null below 2. {meaning}"),
        )
    ),
    optional("avg_efficiency_of_night", Double, EFFICIENCY_OF_NIGHT),
    optional(
        "sd_efficiency_of_night",
        Double,
        "Sample standard deviation of time_in_sleep / time_in_bed of valid nights; null below 2",
    ),
    *(
        column
        for name, meaning in CLOCKS_OF_NIGHT
        for column in (
            optional(f"avg_{name}_of_night", Time(timezone=False), f"Circular mean over valid nights. {meaning}"),
            optional(
                f"sd_{name}_of_night",
                Double,
                f"Circular standard deviation sqrt(-2 ln R) (Fisher 1993), seconds; null below 2. {meaning}",
            ),
        )
    ),
    optional(
        "sleep_regularity_index",
        Double,
        "-100 to 100 (Phillips et al. 2017): share of 30-second epochs in which the user is asleep or awake as "
        "24 hours before. Days from noon to noon by the recording phone's clock; naps count as sleep; unknown epochs "
        "and hours that the clock skips or repeats are left out. Week: over the 14 days that end with it. Null without "
        "stages, and below 7 (month) or 5 (week) pairs of days with a main sleep",
    ),
    required("regularity_pairs", Integer, "Pairs of consecutive days behind the index"),
    optional(
        "free_days",
        ARRAY(SMALLINT),
        "ISO weekdays counted as free, 1 Monday to 7 Sunday: users.free_days, else FREE_DAYS; month only",
    ),
    optional("free_nights", Integer, "Valid nights that end on one of free_days; month only"),
    optional("work_nights", Integer, "Valid nights that end on another day; month only"),
    optional("midsleep_free", Time(timezone=False), f"MSF: circular mean of midpoints on free days; {_JETLAG_RULE}"),
    optional("midsleep_work", Time(timezone=False), f"MSW: the same on work days; {_JETLAG_RULE}"),
    optional(
        "social_jetlag",
        Double,
        f"MSF - MSW, the short way round the clock, seconds (Wittmann et al. 2006); {_JETLAG_RULE}",
    ),
    optional("absolute_social_jetlag", Double, "Its absolute value, seconds"),
    optional(
        "midsleep_free_corrected",
        Time(timezone=False),
        "MSFsc (Roenneberg et al. 2004): MSF - (SDf - SDweek) / 2 when sleep on free days (SDf) is longer than "
        "on work days, else MSF. SD is the time from sleep onset to wake, SDweek is weighted by free days; "
        f"{_JETLAG_RULE}",
    ),
    required("definition_version", Integer, "Changes when a definition does"),
    required("computed_at", Timestamp, "When the row last changed", server_default=func.now()),
    Index(None, "period_start", "period"),
    Index("sleep_metrics_running_idx", "as_of", postgresql_where=text("NOT is_complete")),
    Index("sleep_metrics_not_synced_idx", "user_id", postgresql_where=text("not_synced_nights > 0")),
    CheckConstraint("period IN ('week', 'month')", name="period_is_known"),
    comment="One row per user and week or month with sessions: counts of nights, means and spreads over valid nights, "
    "regularity, social jetlag. Computed with pandas; definitions in the column comments.",
)
