"""Nights by status in `monthly_averages`, means over valid nights, and the free days that metrics were computed with.

Revision: 0027, after 0026. Adds columns with constant defaults: each statement locks its table for a moment. All averages
are queued again; `sleep_metrics` follow by their definition version.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_COUNTS = (
    "days valid_nights no_sleep_found_nights not_analysable_nights doubtful_nights missing_nights not_synced_nights"
)

_COLUMNS = f"""
ALTER TABLE asleep.monthly_averages
    ADD COLUMN is_complete BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN as_of DATE NOT NULL DEFAULT '2021-01-01',
    {" ".join(f"ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0," for name in _COUNTS.split())}
    ADD COLUMN coverage DOUBLE PRECISION;
ALTER TABLE asleep.monthly_averages
    {" ".join(f"ALTER COLUMN {name} DROP DEFAULT," for name in _COUNTS.split())}
    ALTER COLUMN is_complete DROP DEFAULT,
    ALTER COLUMN as_of DROP DEFAULT;
CREATE INDEX monthly_averages_running_idx ON asleep.monthly_averages (as_of) WHERE NOT is_complete;
CREATE INDEX monthly_averages_not_synced_idx ON asleep.monthly_averages (user_id) WHERE not_synced_nights > 0;
ALTER TABLE asleep.sleep_metrics ADD COLUMN free_days SMALLINT[];
CREATE INDEX sleep_metrics_not_synced_idx ON asleep.sleep_metrics (user_id) WHERE not_synced_nights > 0;
DROP TRIGGER users_changed_free_days ON asleep.users;
DROP FUNCTION asleep.note_free_days();
"""

_COMMENTS = """
COMMENT ON COLUMN asleep.monthly_averages.nights IS 'Dates with a main sleep (status recorded in night_calendar)';
COMMENT ON COLUMN asleep.monthly_averages.avg_time_in_sleep_of_date IS 'Mean. Sleep of a date with a valid night, naps included, seconds';
COMMENT ON COLUMN asleep.monthly_averages.avg_latency_of_night IS 'Mean. Valid nights: from the start to the first sleep epoch, seconds';
COMMENT ON COLUMN asleep.monthly_averages.avg_waso_of_night IS 'Mean. Valid nights: wake after sleep onset, time between two sessions included, seconds';
COMMENT ON COLUMN asleep.monthly_averages.avg_onset_of_night IS 'Circular mean over valid nights. Local clock time of falling asleep';
COMMENT ON COLUMN asleep.monthly_averages.avg_wake_of_night IS 'Circular mean over valid nights. Local clock time of the last awakening';
COMMENT ON COLUMN asleep.monthly_averages.avg_midpoint_of_night IS 'Circular mean over valid nights. Local clock time in the middle between the two';
COMMENT ON COLUMN asleep.monthly_averages.avg_efficiency_of_night IS 'sum(time_in_sleep) / sum(time_in_bed) of valid nights';
COMMENT ON COLUMN asleep.sleep_metrics.as_of IS 'Dates before this one count, and later ones with a main sleep; while the period runs it is recomputed daily';
COMMENT ON COLUMN asleep.sleep_metrics.days IS 'Dates of the period from the user''s first recording up to the day before as_of, and later recorded ones';
COMMENT ON COLUMN asleep.sleep_metrics.valid_nights IS 'Main sleeps of at least 3 hours in bed with at most a fifth of the audio missing: means are over these';
COMMENT ON COLUMN asleep.sleep_metrics.avg_time_in_sleep_of_date IS 'Mean. Sleep of a date with a valid night, naps included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.sd_time_in_sleep_of_date IS 'Sample standard deviation; null below 2. Sleep of a date with a valid night, naps included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.avg_latency_of_night IS 'Mean. Valid nights: from the start to the first sleep epoch, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.sd_latency_of_night IS 'Sample standard deviation; null below 2. Valid nights: from the start to the first sleep epoch, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.avg_waso_of_night IS 'Mean. Valid nights: wake after sleep onset, time between two sessions included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.sd_waso_of_night IS 'Sample standard deviation; null below 2. Valid nights: wake after sleep onset, time between two sessions included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.avg_efficiency_of_night IS 'sum(time_in_sleep) / sum(time_in_bed) of valid nights';
COMMENT ON COLUMN asleep.sleep_metrics.sd_efficiency_of_night IS 'Sample standard deviation of time_in_sleep / time_in_bed of valid nights; null below 2';
COMMENT ON COLUMN asleep.sleep_metrics.avg_onset_of_night IS 'Circular mean over valid nights. Local clock time of falling asleep';
COMMENT ON COLUMN asleep.sleep_metrics.avg_wake_of_night IS 'Circular mean over valid nights. Local clock time of the last awakening';
COMMENT ON COLUMN asleep.sleep_metrics.avg_midpoint_of_night IS 'Circular mean over valid nights. Local clock time in the middle between the two';
COMMENT ON COLUMN asleep.sleep_metrics.free_nights IS 'Valid nights that end on one of free_days; month only';
COMMENT ON COLUMN asleep.sleep_metrics.work_nights IS 'Valid nights that end on another day; month only';
COMMENT ON COLUMN asleep.sleep_metrics.midsleep_free IS 'MSF: circular mean of midpoints on free days; month only; null below 2 free and 3 work nights. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.midsleep_work IS 'MSW: the same on work days; month only; null below 2 free and 3 work nights. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.social_jetlag IS 'MSF - MSW, the short way round the clock, seconds (Wittmann et al. 2006); month only; null below 2 free and 3 work nights. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.midsleep_free_corrected IS 'MSFsc (Roenneberg et al. 2004): MSF - (SDf - SDweek) / 2 when sleep on free days (SDf) is longer than on work days, else MSF. SD is the time from sleep onset to wake, SDweek is weighted by free days; month only; null below 2 free and 3 work nights. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.monthly_averages.is_complete IS 'The month''s last date lies before as_of';
COMMENT ON COLUMN asleep.monthly_averages.as_of IS 'Dates before this one count, and later ones with a main sleep; while the period runs it is recomputed daily';
COMMENT ON COLUMN asleep.monthly_averages.days IS 'Dates of the period from the user''s first recording up to the day before as_of, and later recorded ones';
COMMENT ON COLUMN asleep.monthly_averages.valid_nights IS 'Main sleeps of at least 3 hours in bed with at most a fifth of the audio missing: means are over these';
COMMENT ON COLUMN asleep.monthly_averages.no_sleep_found_nights IS 'Dates on which no sleep was found';
COMMENT ON COLUMN asleep.monthly_averages.not_analysable_nights IS 'Dates with sessions too short or with too much audio missing only';
COMMENT ON COLUMN asleep.monthly_averages.doubtful_nights IS 'Dates with sleep longer than 24 hours only';
COMMENT ON COLUMN asleep.monthly_averages.missing_nights IS 'Dates without a session, although the sync covers them';
COMMENT ON COLUMN asleep.monthly_averages.not_synced_nights IS 'Dates that no sync covers, or whose sessions are not final';
COMMENT ON COLUMN asleep.monthly_averages.coverage IS 'nights / days; null when no date has passed yet';
COMMENT ON COLUMN asleep.sleep_metrics.free_days IS 'ISO weekdays counted as free, 1 Monday to 7 Sunday: users.free_days, else FREE_DAYS; month only';
COMMENT ON TABLE asleep.monthly_averages IS 'One row per user and month with sessions. avg_ columns run over slept sessions as the API computes them; those that end in _of_night or _of_date run over valid nights, which are main sleeps of at least 3 hours in bed with at most a fifth of the audio missing.';
COMMENT ON TABLE asleep.sleep_metrics IS 'One row per user and week or month with sessions: counts of nights, means and spreads over valid nights, regularity, social jetlag. Computed with pandas; definitions in the column comments.';
"""

_STALE = """
INSERT INTO asleep.stale_months AS stored (user_id, month)
SELECT user_id, month FROM asleep.monthly_averages
ON CONFLICT (user_id, month) DO UPDATE SET version = stored.version + 1
"""


def upgrade() -> None:
    """Apply this migration."""
    op.execute(_COLUMNS)
    op.execute(_COMMENTS)
    op.execute(_STALE)


def downgrade() -> None:
    """Not offered: restore a dump instead."""
    raise NotImplementedError
