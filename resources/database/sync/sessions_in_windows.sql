-- Ids of the sessions that a sync of these users must know of: those that started in the user's window, and, however
-- old, those that the API had not finished and deleted ones that must be requested once more.
SELECT s.session_id
FROM unnest(CAST(:user_ids AS text []), CAST(:starts AS timestamptz []), CAST(:ends AS timestamptz []))
    AS requested (user_id, window_start, window_end)
INNER JOIN asleep.sleep_sessions AS s
    ON s.user_id = requested.user_id
    AND s.session_start_time >= requested.window_start
    AND s.session_start_time < requested.window_end
UNION
SELECT session_id
FROM asleep.sleep_sessions
WHERE user_id = ANY(CAST(:user_ids AS text []))
    AND deleted_at IS NULL
    AND NOT is_final
    AND state <> 'COMPLETE'
UNION
SELECT session_id
FROM asleep.sleep_sessions
WHERE user_id = ANY(CAST(:user_ids AS text []))
    AND deleted_at <= now() - interval '20 hours'
    AND deletion_checked_at IS NULL
