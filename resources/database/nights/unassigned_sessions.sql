-- Some users' sessions with sleep that belong to no night yet.
SELECT s.session_id
FROM asleep.sleep_sessions AS s
WHERE s.user_id IN (
    SELECT DISTINCT user_id
    FROM asleep.sleep_sessions
    WHERE slept AND night_role IS NULL
    ORDER BY user_id
    LIMIT :users
)
