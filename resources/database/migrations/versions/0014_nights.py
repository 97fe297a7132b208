"""Nights: a session belongs to the date of waking up, together with the other sessions of the same sleep.

Revision: 0014, after 0013. Rewrites `sleep_sessions` twice for its computed columns and locks it meanwhile, about two
minutes for ten million rows. `migrate` assigns every session to its night afterwards; all averages are recomputed.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_SESSIONS = """
ALTER TABLE asleep.sleep_sessions
    ADD COLUMN doubtful BOOLEAN GENERATED ALWAYS AS (coalesce('TOO_LONG_FOR_ANALYSIS' = ANY (peculiarities), FALSE) OR coalesce(session_end_time - session_start_time > interval '24 hours', FALSE)) STORED NOT NULL,
    ADD COLUMN asleep_from TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (CASE WHEN sleep_time >= session_start_time AND sleep_time < CASE WHEN wake_time > session_start_time AND wake_time <= session_end_time THEN wake_time ELSE coalesce(session_end_time, session_start_time) END THEN sleep_time ELSE session_start_time END) STORED,
    ADD COLUMN asleep_until TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (CASE WHEN wake_time > session_start_time AND wake_time <= session_end_time THEN wake_time ELSE coalesce(session_end_time, session_start_time) END) STORED,
    ADD COLUMN asleep_from_local TIMESTAMP WITHOUT TIME ZONE GENERATED ALWAYS AS (CASE WHEN sleep_time >= session_start_time AND sleep_time < CASE WHEN wake_time > session_start_time AND wake_time <= session_end_time THEN wake_time ELSE coalesce(session_end_time, session_start_time) END THEN sleep_time_local ELSE session_start_local END) STORED,
    ADD COLUMN asleep_until_local TIMESTAMP WITHOUT TIME ZONE GENERATED ALWAYS AS (CASE WHEN wake_time > session_start_time AND wake_time <= session_end_time THEN wake_time_local ELSE coalesce(session_end_local, session_start_local) END) STORED,
    ADD COLUMN night_date DATE,
    ADD COLUMN episode_id TEXT,
    ADD COLUMN episode_sessions INTEGER,
    ADD COLUMN night_role TEXT;
UPDATE asleep.sleep_sessions
SET night_date = CASE WHEN doubtful THEN session_start_local + interval '12 hours' ELSE asleep_until_local END::date;
ALTER TABLE asleep.sleep_sessions
    ALTER COLUMN night_date SET NOT NULL,
    ADD COLUMN night_month DATE GENERATED ALWAYS AS (date_trunc('month', night_date::timestamp without time zone)::date) STORED,
    ADD CONSTRAINT sleep_sessions_night_role_is_known_check
        CHECK (night_role IN ('main', 'nap', 'doubtful', 'overlapping')),
    ADD CONSTRAINT sleep_sessions_episodes_are_nights_check
        CHECK ((episode_id IS NOT NULL) = coalesce(night_role IN ('main', 'nap'), FALSE));
CREATE INDEX sleep_sessions_night_month_user_id_idx ON asleep.sleep_sessions (night_month, user_id);
CREATE INDEX sleep_sessions_user_id_night_date_idx ON asleep.sleep_sessions (user_id, night_date);
CREATE INDEX sleep_sessions_unassigned_idx ON asleep.sleep_sessions (user_id) WHERE slept AND night_role IS NULL;
CREATE INDEX sleep_sessions_split_nights_idx ON asleep.sleep_sessions (user_id, night_month)
    WHERE episode_sessions > 1;
DROP INDEX asleep.sleep_sessions_local_month_user_id_idx;
COMMENT ON COLUMN asleep.sleep_sessions.doubtful IS 'TOO_LONG_FOR_ANALYSIS, or longer than 24 hours: belongs to no night';
COMMENT ON COLUMN asleep.sleep_sessions.asleep_from IS 'Start of the sleep period: sleep_time where it lies in the session, else the session''s start';
COMMENT ON COLUMN asleep.sleep_sessions.asleep_until IS 'Last awakening: wake_time where it lies in the session, else the session''s end, else its start';
COMMENT ON COLUMN asleep.sleep_sessions.asleep_from_local IS 'asleep_from on the local clock';
COMMENT ON COLUMN asleep.sleep_sessions.asleep_until_local IS 'asleep_until on the local clock';
COMMENT ON COLUMN asleep.sleep_sessions.night_date IS 'Date of the night: local date of the last awakening of the session''s sleep episode. Of a session that belongs to none: of its own last awakening; doubtful: of the night, noon to noon, in which it began';
COMMENT ON COLUMN asleep.sleep_sessions.episode_id IS 'First session of the sleep episode: sessions less than 60 minutes apart are one. Null: not slept, doubtful or overlapping';
COMMENT ON COLUMN asleep.sleep_sessions.episode_sessions IS 'Sessions of that episode';
COMMENT ON COLUMN asleep.sleep_sessions.night_role IS 'main: part of the longest episode of the user''s date. nap: part of another. overlapping: shares more than 15 minutes with a longer one. doubtful: see there. Null: no sleep. The last three belong to no night';
COMMENT ON COLUMN asleep.sleep_sessions.night_month IS 'First day of the month of night_date';
"""

_AVERAGES = """
ALTER TABLE asleep.monthly_averages
    ADD COLUMN doubtful_sessions INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN overlapping_sessions INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN naps INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN avg_time_in_sleep_of_date DOUBLE PRECISION,
    ADD COLUMN avg_onset_of_night TIME WITHOUT TIME ZONE,
    ADD COLUMN avg_wake_of_night TIME WITHOUT TIME ZONE,
    ADD COLUMN avg_midpoint_of_night TIME WITHOUT TIME ZONE,
    ADD COLUMN avg_efficiency_of_night DOUBLE PRECISION,
    ADD COLUMN avg_latency_of_night DOUBLE PRECISION,
    ADD COLUMN avg_waso_of_night DOUBLE PRECISION;
ALTER TABLE asleep.monthly_averages
    ALTER COLUMN doubtful_sessions DROP DEFAULT,
    ALTER COLUMN overlapping_sessions DROP DEFAULT,
    ALTER COLUMN naps DROP DEFAULT;
COMMENT ON COLUMN asleep.monthly_averages.month IS 'First day of the month of the nights (night_month): a night belongs to the date of waking up';
COMMENT ON COLUMN asleep.monthly_averages.sessions IS 'Sessions whose night is in the month, whatever their state';
COMMENT ON COLUMN asleep.monthly_averages.nights IS 'Dates with a main sleep';
COMMENT ON COLUMN asleep.monthly_averages.doubtful_sessions IS 'Longer than 24 hours with sleep found: in no night';
COMMENT ON COLUMN asleep.monthly_averages.overlapping_sessions IS 'Slept sessions that share more than 15 minutes with a longer one: in no night';
COMMENT ON COLUMN asleep.monthly_averages.naps IS 'Sleep episodes beside the main sleep of their date, which is longer';
COMMENT ON COLUMN asleep.monthly_averages.avg_time_in_sleep_of_date IS 'Sleep of a date with a main sleep, naps included: sum over the dates / nights, seconds';
COMMENT ON COLUMN asleep.monthly_averages.avg_onset_of_night IS 'Circular mean over main sleeps. Local clock time of falling asleep';
COMMENT ON COLUMN asleep.monthly_averages.avg_wake_of_night IS 'Circular mean over main sleeps. Local clock time of the last awakening';
COMMENT ON COLUMN asleep.monthly_averages.avg_midpoint_of_night IS 'Circular mean over main sleeps. Local clock time in the middle between the two';
COMMENT ON COLUMN asleep.monthly_averages.avg_efficiency_of_night IS 'sum(time_in_sleep) / sum(time_in_bed) of the main sleeps in which both are known';
COMMENT ON COLUMN asleep.monthly_averages.avg_latency_of_night IS 'Mean over main sleeps. From start to first sleep epoch, seconds';
COMMENT ON COLUMN asleep.monthly_averages.avg_waso_of_night IS 'Mean over main sleeps. Wake after sleep onset, time between two sessions included, seconds';
COMMENT ON TABLE asleep.monthly_averages IS 'One row per user and month with sessions. avg_ columns run over slept sessions as the API computes them; those that end in _of_night run over main sleeps.';
INSERT INTO asleep.stale_months AS stored (user_id, month)
SELECT user_id, night_month FROM asleep.sleep_sessions
UNION
SELECT user_id, month FROM asleep.monthly_averages
ON CONFLICT (user_id, month) DO UPDATE SET version = stored.version + 1
"""


def upgrade() -> None:
    """Apply this migration."""
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.execute(_SESSIONS)
    op.execute(_AVERAGES)


def downgrade() -> None:
    """Not offered: restore a dump instead."""
    raise NotImplementedError
