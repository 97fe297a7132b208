-- No stored session ends before it starts.
SELECT 'session' AS kind, count(*) AS found, min(session_start_time) AS since
FROM asleep.sleep_sessions
WHERE deleted_at IS NULL
    AND session_end_time < session_start_time
HAVING count(*) > 0
