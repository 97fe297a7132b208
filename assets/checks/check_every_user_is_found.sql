-- One row while the API reports active users as not found and this is not confirmed yet.
SELECT 'user_not_found' AS kind, count(*) AS found, min(not_found_since) AS since
FROM asleep.users
WHERE is_synced
    AND not_found_since IS NOT NULL
HAVING count(*) > 0
