-- What is missing, of the requested users or of all, the oldest first: one row for the sessions of a user that failed
-- for the same reason. `waiting` counts all users and sessions that are missing.
SELECT
    CAST(sum(count(*)) OVER () AS integer) AS waiting,
    user_id,
    count(session_id) AS sessions,
    kind,
    max(attempts) AS attempts,
    min(first_failed_at) AS since,
    message
FROM asleep.missing_data
WHERE CAST(:user_ids AS text []) IS NULL OR user_id = ANY(CAST(:user_ids AS text []))
GROUP BY user_id, session_id IS NULL, kind, message
ORDER BY min(first_failed_at), min(failure_id)
LIMIT :most
