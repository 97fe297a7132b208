-- One row per stored session among those that events name.
SELECT
    session_id,
    user_id,
    is_final,
    deleted_at IS NOT NULL AS is_deleted
FROM asleep.sleep_sessions
WHERE session_id = ANY (:ids)
