-- One row per user and night date with any session, and what became of that night. Filters on user_id and night_date
-- reach the table's indexes, for both are grouped by; columns that are not read are not computed. Values that the API
-- gives for a whole session, such as latencies and scores, are null when the main sleep has several sessions. Its clock
-- times are those of the session that has the first or last moment, for the phone may change its zone between two.
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
    sleep_time_local + (wake_time_local - sleep_time_local) / 2 AS midpoint_local,
    sleep_index,
    sleep_latency,
    light_latency,
    deep_latency,
    rem_latency,
    wakeup_latency,
    time_in_bed,
    time_in_sleep_period + wake_between AS time_in_sleep_period,
    time_in_sleep,
    time_in_wake + wake_between AS time_in_wake,
    time_in_light,
    time_in_deep,
    time_in_rem,
    time_in_snoring,
    time_in_sleep::double precision / nullif(time_in_bed, 0) AS sleep_efficiency,
    coalesce(light_ratio, time_in_light / nullif(time_in_sleep_period + wake_between, 0)) AS light_ratio,
    coalesce(deep_ratio, time_in_deep / nullif(time_in_sleep_period + wake_between, 0)) AS deep_ratio,
    coalesce(rem_ratio, time_in_rem / nullif(time_in_sleep_period + wake_between, 0)) AS rem_ratio,
    coalesce(wake_ratio, (time_in_wake + wake_between) / nullif(time_in_sleep_period + wake_between, 0)) AS wake_ratio,
    coalesce(snoring_ratio, time_in_snoring / nullif(time_in_sleep_period + wake_between, 0)) AS snoring_ratio,
    breathing_index,
    waso_count + sessions - 1 AS waso_count,
    longest_waso,
    sleep_cycle_count,
    sleep_cycle,
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
        (min(ARRAY[session_start_time AT TIME ZONE 'UTC', session_start_local]) FILTER (WHERE night_role = 'main'))[2]
            AS session_start_local,
        (max(ARRAY[session_end_time AT TIME ZONE 'UTC', session_end_local]) FILTER (WHERE night_role = 'main'))[2]
            AS session_end_local,
        min(asleep_from) FILTER (WHERE night_role = 'main') AS asleep_from,
        max(asleep_until) FILTER (WHERE night_role = 'main') AS asleep_until,
        (min(ARRAY[asleep_from AT TIME ZONE 'UTC', asleep_from_local]) FILTER (WHERE night_role = 'main'))[2]
            AS sleep_time_local,
        (max(ARRAY[asleep_until AT TIME ZONE 'UTC', asleep_until_local]) FILTER (WHERE night_role = 'main'))[2]
            AS wake_time_local,
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
        max(sleep_index) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS sleep_index,
        max(light_latency) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS light_latency,
        max(deep_latency) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS deep_latency,
        max(rem_latency) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS rem_latency,
        max(wakeup_latency) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS wakeup_latency,
        sum(time_in_sleep_period) FILTER (WHERE night_role = 'main') AS time_in_sleep_period,
        sum(time_in_sleep) FILTER (WHERE night_role = 'main') AS time_in_sleep,
        sum(time_in_wake) FILTER (WHERE night_role = 'main') AS time_in_wake,
        sum(time_in_light) FILTER (WHERE night_role = 'main') AS time_in_light,
        sum(time_in_deep) FILTER (WHERE night_role = 'main') AS time_in_deep,
        sum(time_in_rem) FILTER (WHERE night_role = 'main') AS time_in_rem,
        sum(time_in_snoring) FILTER (WHERE night_role = 'main') AS time_in_snoring,
        max(light_ratio) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS light_ratio,
        max(deep_ratio) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS deep_ratio,
        max(rem_ratio) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS rem_ratio,
        max(wake_ratio) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS wake_ratio,
        max(snoring_ratio) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS snoring_ratio,
        max(breathing_index) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS breathing_index,
        sum(waso_count) FILTER (WHERE night_role = 'main') AS waso_count,
        max(longest_waso) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS longest_waso,
        sum(sleep_cycle_count) FILTER (WHERE night_role = 'main') AS sleep_cycle_count,
        max(sleep_cycle) FILTER (WHERE night_role = 'main' AND episode_sessions = 1) AS sleep_cycle,
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
SELECT pg_temp.keep_comments('asleep.night_dates', 'asleep.sleep_sessions');
COMMENT ON COLUMN asleep.night_dates.night_date IS 'Local date on which the user woke up';
COMMENT ON COLUMN asleep.night_dates.status IS
    'recorded: a main sleep. Else doubtful: only sleep longer than 24 hours; no_sleep_found; not_analysable: too '
    'short, too much audio missing, or only sleep that overlaps another night; not_synced: the session is not final '
    'yet';
COMMENT ON COLUMN asleep.night_dates.is_valid_night IS
    'Recorded, at least 3 hours in bed, and at most a fifth of the audio missing';
COMMENT ON COLUMN asleep.night_dates.session_id IS
    'First session of the main sleep, its episode_id. One session by its id: sleep_sessions; a filter on this column '
    'alone reads every session';
COMMENT ON COLUMN asleep.night_dates.sessions IS 'Sessions that the main sleep consists of; mostly 1';
COMMENT ON COLUMN asleep.night_dates.session_start_time IS 'Start of its first session';
COMMENT ON COLUMN asleep.night_dates.session_end_time IS 'End of its last session';
COMMENT ON COLUMN asleep.night_dates.sleep_time_local IS 'Local clock time of falling asleep';
COMMENT ON COLUMN asleep.night_dates.wake_time_local IS 'Local clock time of the last awakening';
COMMENT ON COLUMN asleep.night_dates.midpoint_local IS 'Local clock time in the middle between the two';
COMMENT ON COLUMN asleep.night_dates.sleep_index IS
    'Quality score, 50 to 100; null when the main sleep has several sessions';
COMMENT ON COLUMN asleep.night_dates.time_in_bed IS 'From the first session''s start to the last one''s end, seconds';
COMMENT ON COLUMN asleep.night_dates.time_in_sleep_period IS 'From falling asleep to the last awakening, seconds';
COMMENT ON COLUMN asleep.night_dates.time_in_wake IS
    'Wake after sleep onset, the time between two sessions included, seconds';
COMMENT ON COLUMN asleep.night_dates.sleep_efficiency IS 'time_in_sleep / time_in_bed';
COMMENT ON COLUMN asleep.night_dates.waso_count IS
    'Times awake inside the sleep period, gaps between two sessions included';
COMMENT ON COLUMN asleep.night_dates.missing_data_ratio IS
    '0 to 1: share of audio that never arrived, of its worst session';
COMMENT ON COLUMN asleep.night_dates.naps IS 'Other sleep episodes of the date';
COMMENT ON COLUMN asleep.night_dates.time_in_sleep_of_naps IS 'Sleep in those, seconds';
COMMENT ON COLUMN asleep.night_dates.time_in_sleep_of_date IS 'Sleep in the main sleep and the naps together, seconds';
COMMENT ON COLUMN asleep.night_dates.doubtful_sessions IS
    'Sessions of the date that hold sleep but are longer than 24 hours';
COMMENT ON COLUMN asleep.night_dates.overlapping_sessions IS
    'Sessions of the date that share more than 15 minutes with a longer one';
COMMENT ON COLUMN asleep.night_dates.never_slept_sessions IS 'Sessions of the date in which no sleep was found';
SELECT pg_temp.add_to_comments(
    'asleep.night_dates', ' Null when the main sleep has several sessions.',
    ARRAY[
        'light_latency', 'deep_latency', 'rem_latency', 'wakeup_latency', 'breathing_index', 'longest_waso',
        'sleep_cycle'
    ]
);
SELECT pg_temp.add_to_comments(
    'asleep.night_dates', ' Computed when the main sleep has several sessions.',
    ARRAY['light_ratio', 'deep_ratio', 'rem_ratio', 'wake_ratio', 'snoring_ratio']
);
SELECT pg_temp.add_to_comments(
    'asleep.night_dates', '. Of the first session of the main sleep',
    ARRAY['created_timezone', 'local_zone', 'zone_source', 'peculiarities']
);
SELECT pg_temp.add_to_comments(
    'asleep.night_dates', ' Of the first session of the main sleep.', ARRAY['sleep_latency']
);

-- One row per user and date with a main sleep.
CREATE OR REPLACE VIEW asleep.nights AS
SELECT *
FROM asleep.night_dates
WHERE status = 'recorded';

COMMENT ON VIEW asleep.nights IS
    'One row per user and date with sleep: the main sleep, which is the longest sleep episode that ended on that local '
    'date. Sessions less than 60 minutes apart are one episode. Other episodes are naps, counted beside it. Doubtful '
    'and overlapping sessions are in no night.';
SELECT pg_temp.keep_comments('asleep.nights', 'asleep.night_dates');
