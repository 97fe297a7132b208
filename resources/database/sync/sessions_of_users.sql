-- One row per stored session of these users that exists at the source.
SELECT
    s.session_id,
    s.user_id,
    s.state,
    s.session_start_time,
    s.session_end_time,
    s.unexpected_end_time,
    s.created_timezone,
    s.last_received_seq_num,
    FALSE AS in_full,
    FALSE AS deleted
FROM asleep.sleep_sessions AS s
WHERE s.user_id = ANY(CAST(:user_ids AS text []))
    AND s.deleted_at IS NULL
ORDER BY s.session_id
