-- Every stored session's user is in the registry.
SELECT 'session' AS kind, count(*) AS found, min(s.created_at) AS since
FROM asleep.sleep_sessions AS s
LEFT JOIN asleep.users AS u
    ON u.user_id = s.user_id
WHERE u.user_id IS NULL
HAVING count(*) > 0
