"""The table of metrics of users' weeks and months; each column's comment holds its definition."""

from sqlalchemy import Boolean, CheckConstraint, Column, Date, Double, Index, Integer, Table, Text, Time, func, text
from sqlalchemy.dialects.postgresql import ARRAY, SMALLINT

from resources.database.schema.metadata import metadata
from resources.database.schema.session_columns import (
    AS_OF,
    CLOCKS_OF_NIGHT,
    EFFICIENCY_OF_NIGHT,
    MEANS_OF_NIGHT,
    NIGHT_COUNTS,
    Timestamp,
)

_JETLAG_RULE = "month only; null below 2 free and 3 work nights. Alarms and shifts are not known"

sleep_metrics = Table(
    "sleep_metrics",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column("period", Text, primary_key=True, comment="week, from Monday, or month"),
    Column("period_start", Date, primary_key=True, comment="First date of the period; dates are those of waking up"),
    Column("period_end", Date, nullable=False, comment="Last date of the period"),
    Column("is_complete", Boolean, nullable=False, comment="The period's last date lies before as_of"),
    Column("as_of", Date, nullable=False, comment=AS_OF),
    Column("recorded_nights", Integer, nullable=False, comment="Dates with a main sleep"),
    *(Column(name, Integer, nullable=False, comment=meaning) for name, meaning in NIGHT_COUNTS),
    Column("naps", Integer, nullable=False, comment="Sleep episodes beside the main sleep of their date"),
    Column("coverage", Double, comment="recorded_nights / days"),
    *(
        column
        for name, meaning in MEANS_OF_NIGHT
        for column in (
            Column(f"avg_{name}", Double, comment=f"Mean. {meaning}"),
            Column(f"sd_{name}", Double, comment=f"Sample standard deviation; null below 2. {meaning}"),
        )
    ),
    Column(
        "avg_efficiency_of_night",
        Double,
        comment=EFFICIENCY_OF_NIGHT,
    ),
    Column(
        "sd_efficiency_of_night",
        Double,
        comment="Sample standard deviation of time_in_sleep / time_in_bed of valid nights; null below 2",
    ),
    *(
        column
        for name, meaning in CLOCKS_OF_NIGHT
        for column in (
            Column(f"avg_{name}_of_night", Time(timezone=False), comment=f"Circular mean over valid nights. {meaning}"),
            Column(
                f"sd_{name}_of_night",
                Double,
                comment=f"Circular standard deviation sqrt(-2 ln R) (Fisher 1993), seconds; null below 2. {meaning}",
            ),
        )
    ),
    Column(
        "sleep_regularity_index",
        Double,
        comment="-100 to 100 (Phillips et al. 2017): share of 30-second epochs in which the user is asleep or awake as "
        "24 hours before. Days from noon to noon by the recording phone's clock; naps count as sleep; unknown epochs "
        "and hours that the clock skips or repeats are left out. Week: over the 14 days that end with it. Null without "
        "stages, and below 7 (month) or 5 (week) pairs of days with a main sleep",
    ),
    Column("regularity_pairs", Integer, nullable=False, comment="Pairs of consecutive days behind the index"),
    Column(
        "free_days",
        ARRAY(SMALLINT),
        comment="ISO weekdays counted as free, 1 Monday to 7 Sunday: users.free_days, else FREE_DAYS; month only",
    ),
    Column(
        "free_nights",
        Integer,
        comment="Valid nights that end on one of free_days; month only",
    ),
    Column("work_nights", Integer, comment="Valid nights that end on another day; month only"),
    Column(
        "midsleep_free", Time(timezone=False), comment=f"MSF: circular mean of midpoints on free days; {_JETLAG_RULE}"
    ),
    Column("midsleep_work", Time(timezone=False), comment=f"MSW: the same on work days; {_JETLAG_RULE}"),
    Column(
        "social_jetlag",
        Double,
        comment=f"MSF - MSW, the short way round the clock, seconds (Wittmann et al. 2006); {_JETLAG_RULE}",
    ),
    Column("absolute_social_jetlag", Double, comment="Its absolute value, seconds"),
    Column(
        "midsleep_free_corrected",
        Time(timezone=False),
        comment="MSFsc (Roenneberg et al. 2004): MSF - (SDf - SDweek) / 2 when sleep on free days (SDf) is longer than "
        "on work days, else MSF. SD is the time from sleep onset to wake, SDweek is weighted by free days; "
        f"{_JETLAG_RULE}",
    ),
    Column("definition_version", Integer, nullable=False, comment="Changes when a definition does"),
    Column("computed_at", Timestamp, nullable=False, server_default=func.now(), comment="When the row last changed"),
    Index(None, "period_start", "period"),
    Index("sleep_metrics_running_idx", "as_of", postgresql_where=text("NOT is_complete")),
    Index("sleep_metrics_not_synced_idx", "user_id", postgresql_where=text("not_synced_nights > 0")),
    CheckConstraint("period IN ('week', 'month')", name="period_is_known"),
    comment="One row per user and week or month with sessions: counts of nights, means and spreads over valid nights, "
    "regularity, social jetlag. Computed with pandas; definitions in the column comments.",
)
