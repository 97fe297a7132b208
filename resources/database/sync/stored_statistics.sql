-- One row per stored session that started in the user's window or, however old, that the API had not finished; with
-- its statistics in the API's order.
SELECT
    s.session_id,
    s.user_id,
    s.state,
    s.session_start_time,
    s.session_end_time,
    s.created_timezone,
    s.completed_time,
    s.fetched_at,
    s.unexpected_end_time,
    s.last_received_seq_num,
    s.payload_hash IS NOT NULL AND u.session_id IS NULL AS in_full,
    s.deleted_at IS NOT NULL AS deleted,
    'NEVER_SLEPT' = ANY(coalesce(s.peculiarities, '{}')) AS never_slept,
    s.sleep_time,
    s.wake_time,
    s.sleep_index,
    s.sleep_latency,
    s.wakeup_latency,
    s.light_latency,
    s.deep_latency,
    s.rem_latency,
    s.time_in_bed,
    s.time_in_sleep_period,
    s.time_in_sleep,
    s.time_in_wake,
    s.time_in_light,
    s.time_in_deep,
    s.time_in_rem,
    s.time_in_snoring,
    s.time_in_no_snoring,
    s.time_in_stable_breath,
    s.time_in_unstable_breath,
    s.sleep_efficiency,
    s.sleep_ratio,
    s.wake_ratio,
    s.light_ratio,
    s.deep_ratio,
    s.rem_ratio,
    s.snoring_ratio,
    s.no_snoring_ratio,
    s.stable_breath_ratio,
    s.unstable_breath_ratio,
    s.breathing_index,
    s.breathing_pattern,
    s.unstable_breath_count,
    s.waso_count,
    s.longest_waso,
    s.sleep_cycle_count,
    s.sleep_cycle,
    s.sleep_cycle_time,
    s.snoring_count
FROM (
    SELECT s.session_id
    FROM unnest(CAST(:user_ids AS text []), CAST(:starts AS timestamptz []), CAST(:ends AS timestamptz []))
        AS asked (user_id, window_start, window_end)
    INNER JOIN asleep.sleep_sessions AS s
        ON s.user_id = asked.user_id
        AND s.session_start_time >= asked.window_start
        AND s.session_start_time < asked.window_end
    UNION
    SELECT session_id
    FROM asleep.sleep_sessions
    WHERE user_id = ANY(CAST(:user_ids AS text []))
        AND deleted_at IS NULL
        AND NOT is_final
        AND state <> 'COMPLETE'
) AS known
INNER JOIN asleep.sleep_sessions AS s
    ON s.session_id = known.session_id
LEFT JOIN asleep.event_only_sessions AS u
    ON u.session_id = s.session_id
