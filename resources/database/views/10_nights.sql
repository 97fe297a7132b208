-- One row per user and local date with sleep: the main sleep of that date, and the naps counted beside it.
-- Filters on user_id and local_date reach the table's indexes, for both partition the windows.
CREATE OR REPLACE VIEW asleep.nights AS
SELECT
    user_id,
    local_date,
    session_id,
    created_timezone,
    session_start_time,
    session_end_time,
    session_start_local,
    session_end_local,
    sleep_time_local,
    wake_time_local,
    sleep_index,
    sleep_latency,
    wakeup_latency,
    light_latency,
    deep_latency,
    rem_latency,
    time_in_bed,
    time_in_sleep_period,
    time_in_sleep,
    time_in_wake,
    time_in_light,
    time_in_deep,
    time_in_rem,
    time_in_snoring,
    sleep_efficiency,
    light_ratio,
    deep_ratio,
    rem_ratio,
    wake_ratio,
    snoring_ratio,
    breathing_index,
    waso_count,
    longest_waso,
    sleep_cycle_count,
    sleep_cycle,
    snoring_count,
    peculiarities,
    missing_data_ratio,
    sleeps - 1 AS naps,
    time_in_sleep_of_date - time_in_sleep AS time_in_sleep_of_naps,
    time_in_sleep_of_date
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY user_id, local_date
            ORDER BY time_in_sleep DESC, session_start_time, session_id
        ) AS place,
        count(*) OVER (PARTITION BY user_id, local_date) AS sleeps,
        sum(time_in_sleep) OVER (PARTITION BY user_id, local_date) AS time_in_sleep_of_date
    FROM asleep.sleep_sessions
    WHERE deleted_at IS NULL
        AND state = 'COMPLETE'
        AND time_in_sleep > 0
        AND NOT coalesce('NEVER_SLEPT' = ANY (peculiarities), FALSE)
) AS slept
WHERE place = 1;

COMMENT ON VIEW asleep.nights IS
    'One row per user and local date with sleep: the main sleep (longest time_in_sleep) of the sessions that '
    'started on that date; naps are counted beside it. Only finished sessions that still exist and held sleep.';

-- Columns taken over from sleep_sessions keep their comments.
DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT attname, col_description('asleep.sleep_sessions'::regclass, source.attnum) AS words
        FROM pg_attribute AS source
        WHERE source.attrelid = 'asleep.sleep_sessions'::regclass AND source.attnum > 0 AND NOT source.attisdropped
            AND EXISTS (
                SELECT FROM pg_attribute AS target
                WHERE target.attrelid = 'asleep.nights'::regclass AND target.attname = source.attname
            )
    LOOP
        EXECUTE 'COMMENT ON COLUMN asleep.nights.' || quote_ident(taken.attname) || ' IS '
            || quote_nullable(taken.words);
    END LOOP;
END
$$;

COMMENT ON COLUMN asleep.nights.session_id IS
    'The session that is the main sleep of the date. To find one session by its id, ask sleep_sessions: a filter on '
    'this column alone reads every session';
COMMENT ON COLUMN asleep.nights.naps IS 'Further slept sessions that started on the same local date';
COMMENT ON COLUMN asleep.nights.time_in_sleep_of_naps IS 'Sleep in those naps together, seconds';
COMMENT ON COLUMN asleep.nights.time_in_sleep_of_date IS 'Sleep in the main sleep and the naps together, seconds';
