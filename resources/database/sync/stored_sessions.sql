-- One row per stored session that a sync of these users must know of: those that started in the user's window, and,
-- however old, those that the API had not finished and deleted ones that must be requested once more. In full: read
-- from the API, not known from an event alone.
SELECT
    s.session_id,
    s.user_id,
    s.state,
    s.session_start_time,
    s.session_end_time,
    s.unexpected_end_time,
    s.created_timezone,
    s.last_received_seq_num,
    s.payload_hash IS NOT NULL AND u.session_id IS NULL AS in_full,
    s.deleted_at IS NOT NULL AS deleted,
    coalesce(s.deleted_at <= now() - interval '20 hours' AND s.deletion_checked_at IS NULL, FALSE)
        AS deletion_is_unchecked
FROM unnest(CAST(:user_ids AS text []), CAST(:starts AS timestamptz []), CAST(:ends AS timestamptz []))
    AS asked (user_id, window_start, window_end)
INNER JOIN asleep.sleep_sessions AS s
    ON s.user_id = asked.user_id
    AND s.session_start_time >= asked.window_start
    AND s.session_start_time < asked.window_end
LEFT JOIN asleep.event_only_sessions AS u
    ON u.session_id = s.session_id
UNION
SELECT
    s.session_id,
    s.user_id,
    s.state,
    s.session_start_time,
    s.session_end_time,
    s.unexpected_end_time,
    s.created_timezone,
    s.last_received_seq_num,
    s.payload_hash IS NOT NULL AND u.session_id IS NULL,
    FALSE,
    FALSE
FROM asleep.sleep_sessions AS s
LEFT JOIN asleep.event_only_sessions AS u
    ON u.session_id = s.session_id
WHERE s.user_id = ANY(CAST(:user_ids AS text []))
    AND s.deleted_at IS NULL
    AND NOT s.is_final
    AND s.state <> 'COMPLETE'
UNION
SELECT
    s.session_id,
    s.user_id,
    s.state,
    s.session_start_time,
    s.session_end_time,
    s.unexpected_end_time,
    s.created_timezone,
    s.last_received_seq_num,
    s.payload_hash IS NOT NULL AND u.session_id IS NULL,
    TRUE,
    TRUE
FROM asleep.sleep_sessions AS s
LEFT JOIN asleep.event_only_sessions AS u
    ON u.session_id = s.session_id
WHERE s.user_id = ANY(CAST(:user_ids AS text []))
    AND s.deleted_at <= now() - interval '20 hours'
    AND s.deletion_checked_at IS NULL
