-- Users and sessions that are missing, of the requested users or of all, the oldest first; with how many wait.
SELECT count(*) OVER () AS waiting, user_id, session_id, kind, attempts, first_failed_at, message
FROM asleep.missing_data
WHERE CAST(:user_ids AS text []) IS NULL OR user_id = ANY(CAST(:user_ids AS text []))
ORDER BY first_failed_at, failure_id
LIMIT :most
