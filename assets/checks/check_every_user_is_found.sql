-- The API finds every active user. A user that it does not find is requested in every sync, and is treated as
-- deleted when list and user endpoint report so again at least 20 hours later.
SELECT 'user_not_found' AS kind, count(*) AS found, min(not_found_since) AS since
FROM asleep.users
WHERE is_synced
    AND not_found_since IS NOT NULL
HAVING count(*) > 0
