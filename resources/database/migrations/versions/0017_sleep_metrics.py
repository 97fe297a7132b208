"""Sleep metrics of weeks and months, what the sync has covered, and users' own free days.

Revision: 0017, after 0016. New tables, and columns without a rewrite.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE asleep.sleep_metrics (
    user_id TEXT NOT NULL,
    period TEXT NOT NULL,
    period_start DATE NOT NULL,
    period_end DATE NOT NULL,
    is_complete BOOLEAN NOT NULL,
    as_of DATE NOT NULL,
    days INTEGER NOT NULL,
    recorded_nights INTEGER NOT NULL,
    valid_nights INTEGER NOT NULL,
    no_sleep_found_nights INTEGER NOT NULL,
    not_analysable_nights INTEGER NOT NULL,
    doubtful_nights INTEGER NOT NULL,
    missing_nights INTEGER NOT NULL,
    not_synced_nights INTEGER NOT NULL,
    naps INTEGER NOT NULL,
    coverage DOUBLE PRECISION,
    avg_time_in_sleep_of_date DOUBLE PRECISION,
    sd_time_in_sleep_of_date DOUBLE PRECISION,
    avg_latency_of_night DOUBLE PRECISION,
    sd_latency_of_night DOUBLE PRECISION,
    avg_waso_of_night DOUBLE PRECISION,
    sd_waso_of_night DOUBLE PRECISION,
    avg_efficiency_of_night DOUBLE PRECISION,
    sd_efficiency_of_night DOUBLE PRECISION,
    avg_onset_of_night TIME WITHOUT TIME ZONE,
    sd_onset_of_night DOUBLE PRECISION,
    avg_wake_of_night TIME WITHOUT TIME ZONE,
    sd_wake_of_night DOUBLE PRECISION,
    avg_midpoint_of_night TIME WITHOUT TIME ZONE,
    sd_midpoint_of_night DOUBLE PRECISION,
    sleep_regularity_index DOUBLE PRECISION,
    regularity_pairs INTEGER NOT NULL,
    free_nights INTEGER,
    work_nights INTEGER,
    midsleep_free TIME WITHOUT TIME ZONE,
    midsleep_work TIME WITHOUT TIME ZONE,
    social_jetlag DOUBLE PRECISION,
    absolute_social_jetlag DOUBLE PRECISION,
    midsleep_free_corrected TIME WITHOUT TIME ZONE,
    definition_version INTEGER NOT NULL,
    computed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT sleep_metrics_pkey PRIMARY KEY (user_id, period, period_start),
    CONSTRAINT sleep_metrics_period_is_known_check CHECK (period IN ('week', 'month'))
);
CREATE INDEX sleep_metrics_period_start_period_idx ON asleep.sleep_metrics (period_start, period);
CREATE INDEX sleep_metrics_running_idx ON asleep.sleep_metrics (as_of) WHERE NOT is_complete;
COMMENT ON TABLE asleep.sleep_metrics IS 'One row per user and week or month with sessions: counts of nights, means and spreads over main sleeps, regularity, social jetlag. Computed with pandas; definitions in the column comments.';
COMMENT ON COLUMN asleep.sleep_metrics.user_id IS 'The user';
COMMENT ON COLUMN asleep.sleep_metrics.period IS 'week, from Monday, or month';
COMMENT ON COLUMN asleep.sleep_metrics.period_start IS 'First date of the period; dates are those of waking up';
COMMENT ON COLUMN asleep.sleep_metrics.period_end IS 'Last date of the period';
COMMENT ON COLUMN asleep.sleep_metrics.is_complete IS 'The period''s last date lies before as_of';
COMMENT ON COLUMN asleep.sleep_metrics.as_of IS 'Dates before this one count; a running period is recomputed daily';
COMMENT ON COLUMN asleep.sleep_metrics.days IS 'Dates of the period from the user''s first recording up to the day before as_of';
COMMENT ON COLUMN asleep.sleep_metrics.recorded_nights IS 'Dates with a main sleep';
COMMENT ON COLUMN asleep.sleep_metrics.valid_nights IS 'Of those: at least 3 hours in bed, at most a fifth of the audio missing';
COMMENT ON COLUMN asleep.sleep_metrics.no_sleep_found_nights IS 'Dates on which no sleep was found';
COMMENT ON COLUMN asleep.sleep_metrics.not_analysable_nights IS 'Dates with sessions too short or with too much audio missing only';
COMMENT ON COLUMN asleep.sleep_metrics.doubtful_nights IS 'Dates with sleep longer than 24 hours only';
COMMENT ON COLUMN asleep.sleep_metrics.missing_nights IS 'Dates without a session, although the sync covers them';
COMMENT ON COLUMN asleep.sleep_metrics.not_synced_nights IS 'Dates that no sync covers, or whose sessions are not final';
COMMENT ON COLUMN asleep.sleep_metrics.naps IS 'Sleep episodes beside the main sleep of their date';
COMMENT ON COLUMN asleep.sleep_metrics.coverage IS 'recorded_nights / days';
COMMENT ON COLUMN asleep.sleep_metrics.avg_time_in_sleep_of_date IS 'Mean. Sleep of a date with a main sleep, naps included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.sd_time_in_sleep_of_date IS 'Sample standard deviation; null below 2. Sleep of a date with a main sleep, naps included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.avg_latency_of_night IS 'Mean. From the start to the first sleep epoch, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.sd_latency_of_night IS 'Sample standard deviation; null below 2. From the start to the first sleep epoch, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.avg_waso_of_night IS 'Mean. Wake after sleep onset, time between two sessions included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.sd_waso_of_night IS 'Sample standard deviation; null below 2. Wake after sleep onset, time between two sessions included, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.avg_efficiency_of_night IS 'sum(time_in_sleep) / sum(time_in_bed) of main sleeps with both known';
COMMENT ON COLUMN asleep.sleep_metrics.sd_efficiency_of_night IS 'Sample standard deviation of time_in_sleep / time_in_bed; null below 2';
COMMENT ON COLUMN asleep.sleep_metrics.avg_onset_of_night IS 'Circular mean over main sleeps. Local clock time of falling asleep';
COMMENT ON COLUMN asleep.sleep_metrics.sd_onset_of_night IS 'Circular standard deviation sqrt(-2 ln R) (Fisher 1993), seconds; null below 2. Local clock time of falling asleep';
COMMENT ON COLUMN asleep.sleep_metrics.avg_wake_of_night IS 'Circular mean over main sleeps. Local clock time of the last awakening';
COMMENT ON COLUMN asleep.sleep_metrics.sd_wake_of_night IS 'Circular standard deviation sqrt(-2 ln R) (Fisher 1993), seconds; null below 2. Local clock time of the last awakening';
COMMENT ON COLUMN asleep.sleep_metrics.avg_midpoint_of_night IS 'Circular mean over main sleeps. Local clock time in the middle between the two';
COMMENT ON COLUMN asleep.sleep_metrics.sd_midpoint_of_night IS 'Circular standard deviation sqrt(-2 ln R) (Fisher 1993), seconds; null below 2. Local clock time in the middle between the two';
COMMENT ON COLUMN asleep.sleep_metrics.sleep_regularity_index IS '-100 to 100 (Phillips et al. 2017): share of 30-second epochs in which the user is asleep or awake as 24 hours before. Days from noon to noon by the recording phone''s clock; naps count as sleep; unknown epochs and hours that the clock skips or repeats are left out. Week: over the 14 days that end with it. Null without stages, and below 7 (month) or 5 (week) pairs of days with a main sleep';
COMMENT ON COLUMN asleep.sleep_metrics.regularity_pairs IS 'Pairs of consecutive days behind the index';
COMMENT ON COLUMN asleep.sleep_metrics.free_nights IS 'Main sleeps that end on a free day: users.free_days, else the weekend; month only';
COMMENT ON COLUMN asleep.sleep_metrics.work_nights IS 'Main sleeps that end on another day; month only';
COMMENT ON COLUMN asleep.sleep_metrics.midsleep_free IS 'MSF: circular mean of midpoints on free days; month only; null below 2 free and 3 work main sleeps. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.midsleep_work IS 'MSW: the same on work days; month only; null below 2 free and 3 work main sleeps. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.social_jetlag IS 'MSF - MSW, the short way round the clock, seconds (Wittmann et al. 2006); month only; null below 2 free and 3 work main sleeps. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.absolute_social_jetlag IS 'Its absolute value, seconds';
COMMENT ON COLUMN asleep.sleep_metrics.midsleep_free_corrected IS 'MSFsc (Roenneberg et al. 2004): MSF - (SDf - SDweek) / 2 when sleep on free days (SDf) is longer than on work days, else MSF. SD is the time from sleep onset to wake, SDweek is weighted by free days; month only; null below 2 free and 3 work main sleeps. Alarms and shifts are not known';
COMMENT ON COLUMN asleep.sleep_metrics.definition_version IS 'Changes when a definition does';
COMMENT ON COLUMN asleep.sleep_metrics.computed_at IS 'When the row last changed';
CREATE TABLE asleep.stale_periods (
    user_id TEXT NOT NULL,
    period TEXT NOT NULL,
    period_start DATE NOT NULL,
    version BIGINT GENERATED BY DEFAULT AS IDENTITY,
    CONSTRAINT stale_periods_pkey PRIMARY KEY (user_id, period, period_start)
);
COMMENT ON TABLE asleep.stale_periods IS 'One row per user and period whose sessions changed since its metrics were computed. Not for analysts.';
COMMENT ON COLUMN asleep.stale_periods.user_id IS 'The user';
COMMENT ON COLUMN asleep.stale_periods.period IS 'week or month';
COMMENT ON COLUMN asleep.stale_periods.period_start IS 'First date of the period';
COMMENT ON COLUMN asleep.stale_periods.version IS 'Another number after each change';
INSERT INTO asleep.stale_periods (user_id, period, period_start)
SELECT DISTINCT user_id, touched.period, touched.period_start::date
FROM asleep.sleep_sessions
CROSS JOIN LATERAL (
    VALUES
    ('month', date_trunc('month', night_date - 1)),
    ('month', date_trunc('month', night_date + 1)),
    ('week', date_trunc('week', night_date - 1)),
    ('week', date_trunc('week', night_date + 1)),
    ('week', date_trunc('week', night_date + 8))
) AS touched (period, period_start);
"""

_COLUMNS = """
ALTER TABLE asleep.users ADD COLUMN free_days smallint[];
COMMENT ON COLUMN asleep.users.free_days IS 'ISO weekdays without work, 1 Monday to 7 Sunday, for social jetlag; null: Saturday and Sunday';
COMMENT ON COLUMN asleep.stale_months.month IS 'First day of the month of night_date';
ALTER TABLE asleep.sync_ledger ADD COLUMN covered tstzmultirange NOT NULL DEFAULT '{}';
UPDATE asleep.sync_ledger
SET covered = tstzmultirange(tstzrange(window_start, greatest(window_start, least(window_end, listed_at))));
COMMENT ON COLUMN asleep.sync_ledger.covered IS 'All spans synced in full so far, each up to the moment it was listed at';
"""

_FREE_DAYS = """
CREATE FUNCTION asleep.note_free_days() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO asleep.stale_periods AS stored (user_id, period, period_start)
    SELECT user_id, period, period_start
    FROM asleep.sleep_metrics
    WHERE user_id = NEW.user_id AND period = 'month'
    ORDER BY period_start
    ON CONFLICT (user_id, period, period_start) DO UPDATE SET version = excluded.version;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION asleep.note_free_days() IS 'Marks the months of a user stale whose free days have changed';
CREATE TRIGGER users_changed_free_days
AFTER UPDATE OF free_days ON asleep.users
FOR EACH ROW
WHEN (OLD.free_days IS DISTINCT FROM NEW.free_days)
EXECUTE FUNCTION asleep.note_free_days()
"""


def upgrade() -> None:
    """Apply this migration."""
    op.execute(_TABLES)
    op.execute(_COLUMNS)
    op.execute(_FREE_DAYS)


def downgrade() -> None:
    """Not offered: restore a dump instead."""
    raise NotImplementedError
