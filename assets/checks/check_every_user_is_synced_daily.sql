-- Every active user was synced in full within the last 48 hours, or was registered since. No user is late before
-- the first sync has ended.
SELECT 'user' AS kind, count(*) AS found, min(coalesce(last_synced_at, registered_at)) AS since
FROM asleep.users
WHERE is_synced
    AND coalesce(last_synced_at, registered_at) < now() - interval '48 hours'
HAVING count(*) > 0
