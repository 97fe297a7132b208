-- One row per user and night date with any session, and what became of that night. Filters on user_id and night_date
-- reach the table's indexes, for both are grouped by; columns that are not read are not computed.
CREATE OR REPLACE VIEW asleep.night_dates AS
SELECT
    user_id,
    night_date,
    night_month,
    CASE
        WHEN sessions > 0 THEN 'recorded'
        WHEN doubtful_sessions > 0 THEN 'doubtful'
        WHEN never_slept_sessions > 0 THEN 'no_sleep_found'
        WHEN finished_sessions > 0 THEN 'not_analysable'
        ELSE 'not_synced'
    END AS status,
    sessions > 0 AND asleep.is_valid_night(time_in_bed, missing_data_ratio) AS is_valid_night,
    session_id,
    sessions,
    created_timezone,
    local_zone,
    zone_source,
    session_start_time,
    session_end_time,
    session_start_local,
    session_end_local,
    asleep_from,
    asleep_until,
    sleep_time_local,
    wake_time_local,
    sleep_time_local + (asleep_until - asleep_from) / 2 AS midpoint_local,
    CASE WHEN sessions = 1 THEN sleep_index END AS sleep_index,
    sleep_latency,
    CASE WHEN sessions = 1 THEN light_latency END AS light_latency,
    CASE WHEN sessions = 1 THEN deep_latency END AS deep_latency,
    CASE WHEN sessions = 1 THEN rem_latency END AS rem_latency,
    CASE WHEN sessions = 1 THEN wakeup_latency END AS wakeup_latency,
    time_in_bed,
    CASE WHEN sessions = 1 THEN time_in_sleep_period ELSE time_in_sleep_period + wake_between END
        AS time_in_sleep_period,
    time_in_sleep,
    CASE WHEN sessions = 1 THEN time_in_wake ELSE time_in_wake + wake_between END AS time_in_wake,
    time_in_light,
    time_in_deep,
    time_in_rem,
    time_in_snoring,
    time_in_sleep::double precision / nullif(time_in_bed, 0) AS sleep_efficiency,
    CASE WHEN sessions = 1 THEN light_ratio ELSE time_in_light / nullif(time_in_sleep_period + wake_between, 0) END
        AS light_ratio,
    CASE WHEN sessions = 1 THEN deep_ratio ELSE time_in_deep / nullif(time_in_sleep_period + wake_between, 0) END
        AS deep_ratio,
    CASE WHEN sessions = 1 THEN rem_ratio ELSE time_in_rem / nullif(time_in_sleep_period + wake_between, 0) END
        AS rem_ratio,
    CASE
        WHEN sessions = 1 THEN wake_ratio
        ELSE (time_in_wake + wake_between) / nullif(time_in_sleep_period + wake_between, 0)
    END AS wake_ratio,
    CASE WHEN sessions = 1 THEN snoring_ratio ELSE time_in_snoring / nullif(time_in_sleep_period + wake_between, 0) END
        AS snoring_ratio,
    CASE WHEN sessions = 1 THEN breathing_index END AS breathing_index,
    CASE WHEN sessions = 1 THEN waso_count ELSE waso_count + sessions - 1 END AS waso_count,
    CASE WHEN sessions = 1 THEN longest_waso END AS longest_waso,
    sleep_cycle_count,
    CASE WHEN sessions = 1 THEN sleep_cycle END AS sleep_cycle,
    snoring_count,
    peculiarities,
    missing_data_ratio,
    naps,
    coalesce(time_in_sleep_of_naps, 0) AS time_in_sleep_of_naps,
    time_in_sleep + coalesce(time_in_sleep_of_naps, 0) AS time_in_sleep_of_date,
    doubtful_sessions,
    overlapping_sessions,
    never_slept_sessions
FROM (
    SELECT
        user_id,
        night_date,
        night_month,
        min(episode_id) FILTER (WHERE night_role = 'main') AS session_id,
        count(*) FILTER (WHERE night_role = 'main') AS sessions,
        max(created_timezone) FILTER (WHERE night_role = 'main' AND session_id = episode_id) AS created_timezone,
        max(local_zone) FILTER (WHERE night_role = 'main' AND session_id = episode_id) AS local_zone,
        max(zone_source) FILTER (WHERE night_role = 'main' AND session_id = episode_id) AS zone_source,
        max(peculiarities) FILTER (WHERE night_role = 'main' AND session_id = episode_id) AS peculiarities,
        max(sleep_latency) FILTER (WHERE night_role = 'main' AND session_id = episode_id) AS sleep_latency,
        min(session_start_time) FILTER (WHERE night_role = 'main') AS session_start_time,
        max(session_end_time) FILTER (WHERE night_role = 'main') AS session_end_time,
        min(session_start_local) FILTER (WHERE night_role = 'main') AS session_start_local,
        max(session_end_local) FILTER (WHERE night_role = 'main') AS session_end_local,
        min(asleep_from) FILTER (WHERE night_role = 'main') AS asleep_from,
        max(asleep_until) FILTER (WHERE night_role = 'main') AS asleep_until,
        min(asleep_from_local) FILTER (WHERE night_role = 'main') AS sleep_time_local,
        max(asleep_until_local) FILTER (WHERE night_role = 'main') AS wake_time_local,
        CASE
            WHEN count(*) FILTER (WHERE night_role = 'main') = 1
                THEN max(time_in_bed) FILTER (WHERE night_role = 'main')
            ELSE date_part(
                'epoch',
                max(session_end_time) FILTER (WHERE night_role = 'main')
                - min(session_start_time) FILTER (WHERE night_role = 'main')
            )::integer
        END AS time_in_bed,
        greatest(
            date_part(
                'epoch',
                max(asleep_until) FILTER (WHERE night_role = 'main')
                - min(asleep_from) FILTER (WHERE night_role = 'main')
                - sum(asleep_until - asleep_from) FILTER (WHERE night_role = 'main')
            ),
            0
        ) AS wake_between,
        max(sleep_index) FILTER (WHERE night_role = 'main') AS sleep_index,
        max(light_latency) FILTER (WHERE night_role = 'main') AS light_latency,
        max(deep_latency) FILTER (WHERE night_role = 'main') AS deep_latency,
        max(rem_latency) FILTER (WHERE night_role = 'main') AS rem_latency,
        max(wakeup_latency) FILTER (WHERE night_role = 'main') AS wakeup_latency,
        sum(time_in_sleep_period) FILTER (WHERE night_role = 'main') AS time_in_sleep_period,
        sum(time_in_sleep) FILTER (WHERE night_role = 'main') AS time_in_sleep,
        sum(time_in_wake) FILTER (WHERE night_role = 'main') AS time_in_wake,
        sum(time_in_light) FILTER (WHERE night_role = 'main') AS time_in_light,
        sum(time_in_deep) FILTER (WHERE night_role = 'main') AS time_in_deep,
        sum(time_in_rem) FILTER (WHERE night_role = 'main') AS time_in_rem,
        sum(time_in_snoring) FILTER (WHERE night_role = 'main') AS time_in_snoring,
        max(light_ratio) FILTER (WHERE night_role = 'main') AS light_ratio,
        max(deep_ratio) FILTER (WHERE night_role = 'main') AS deep_ratio,
        max(rem_ratio) FILTER (WHERE night_role = 'main') AS rem_ratio,
        max(wake_ratio) FILTER (WHERE night_role = 'main') AS wake_ratio,
        max(snoring_ratio) FILTER (WHERE night_role = 'main') AS snoring_ratio,
        max(breathing_index) FILTER (WHERE night_role = 'main') AS breathing_index,
        sum(waso_count) FILTER (WHERE night_role = 'main') AS waso_count,
        max(longest_waso) FILTER (WHERE night_role = 'main') AS longest_waso,
        sum(sleep_cycle_count) FILTER (WHERE night_role = 'main') AS sleep_cycle_count,
        max(sleep_cycle) FILTER (WHERE night_role = 'main') AS sleep_cycle,
        sum(snoring_count) FILTER (WHERE night_role = 'main') AS snoring_count,
        max(missing_data_ratio) FILTER (WHERE night_role = 'main') AS missing_data_ratio,
        count(*) FILTER (WHERE night_role = 'nap' AND session_id = episode_id) AS naps,
        sum(time_in_sleep) FILTER (WHERE night_role = 'nap') AS time_in_sleep_of_naps,
        count(*) FILTER (WHERE night_role = 'doubtful') AS doubtful_sessions,
        count(*) FILTER (WHERE night_role = 'overlapping') AS overlapping_sessions,
        count(*) FILTER (WHERE never_slept) AS never_slept_sessions,
        count(*) FILTER (WHERE state = 'COMPLETE') AS finished_sessions
    FROM asleep.sleep_sessions
    WHERE deleted_at IS NULL
    GROUP BY user_id, night_date, night_month
) AS by_date;

COMMENT ON VIEW asleep.night_dates IS
    'One row per user and night date with any stored session: what became of the night, and its main sleep where there '
    'is one. Dates without a session: night_calendar.';

-- One row per user and date with a main sleep.
CREATE OR REPLACE VIEW asleep.nights AS
SELECT *
FROM asleep.night_dates
WHERE status = 'recorded';

COMMENT ON VIEW asleep.nights IS
    'One row per user and date with sleep: the main sleep, which is the longest sleep episode that ended on that local '
    'date. Sessions less than 60 minutes apart are one episode. Other episodes are naps, counted beside it. Doubtful '
    'and overlapping sessions are in no night.';

-- Columns taken over from sleep_sessions keep their comments.
DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT
            target.attrelid::regclass AS view,
            target.attname AS name,
            col_description(source.attrelid, source.attnum) AS words
        FROM pg_attribute AS target
        JOIN pg_attribute AS source
            ON source.attrelid = 'asleep.sleep_sessions'::regclass
            AND source.attname = target.attname
            AND source.attnum > 0
        WHERE target.attrelid IN ('asleep.night_dates'::regclass, 'asleep.nights'::regclass)
    LOOP
        EXECUTE 'COMMENT ON COLUMN ' || taken.view || '.' || quote_ident(taken.name) || ' IS '
            || quote_nullable(taken.words);
    END LOOP;
END
$$;

DO $$
DECLARE
    view text;
    entry record;
BEGIN
    FOREACH view IN ARRAY ARRAY['asleep.night_dates', 'asleep.nights'] LOOP
        FOR entry IN
            SELECT *
            FROM (
                VALUES
                ('night_date', 'Local date on which the user woke up'),
                ('status', 'recorded: a main sleep. Else doubtful: only sleep longer than 24 hours; no_sleep_found; '
                    'not_analysable: too short, or too much audio missing; not_synced: the session is not final yet'),
                ('is_valid_night', 'Recorded, at least 3 hours in bed, and at most a fifth of the audio missing'),
                ('session_id', 'First session of the main sleep, its episode_id. One session by its id: sleep_sessions; '
                    'a filter on this column alone reads every session'),
                ('sessions', 'Sessions that the main sleep consists of; mostly 1'),
                ('session_start_time', 'Start of its first session'),
                ('session_end_time', 'End of its last session'),
                ('session_start_local', 'The same on the local clock'),
                ('session_end_local', 'The same on the local clock'),
                ('sleep_time_local', 'Local clock time of falling asleep'),
                ('wake_time_local', 'Local clock time of the last awakening'),
                ('midpoint_local', 'Local clock time in the middle between the two'),
                ('sleep_index', 'Quality score, 50 to 100; null when the main sleep has several sessions'),
                ('sleep_latency', 'From the start to the first sleep epoch, seconds'),
                ('time_in_bed', 'From the first session''s start to the last one''s end, seconds'),
                ('time_in_sleep_period', 'From falling asleep to the last awakening, seconds'),
                ('time_in_wake', 'Wake after sleep onset, the time between two sessions included, seconds'),
                ('sleep_efficiency', 'time_in_sleep / time_in_bed'),
                ('waso_count', 'Times awake inside the sleep period, gaps between two sessions included'),
                ('missing_data_ratio', '0 to 1: share of audio that never arrived, of its worst session'),
                ('naps', 'Other sleep episodes of the date'),
                ('time_in_sleep_of_naps', 'Sleep in those, seconds'),
                ('time_in_sleep_of_date', 'Sleep in the main sleep and the naps together, seconds'),
                ('doubtful_sessions', 'Sessions of the date that hold sleep but are longer than 24 hours'),
                ('overlapping_sessions', 'Sessions of the date that share more than 15 minutes with a longer one'),
                ('never_slept_sessions', 'Sessions of the date in which no sleep was found')
            ) AS entry (name, words)
        LOOP
            EXECUTE 'COMMENT ON COLUMN ' || view || '.' || entry.name || ' IS ' || quote_literal(entry.words);
        END LOOP;
    END LOOP;
END
$$;
