-- One row when active users were not synced in full for two days. Nobody can be late before the first sync ended.
SELECT 'user' AS kind, count(*) AS found, min(coalesce(last_synced_at, registered_at)) AS since
FROM asleep.users
WHERE is_synced
    AND coalesce(last_synced_at, registered_at) < now() - interval '48 hours'
HAVING count(*) > 0
