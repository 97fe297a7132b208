-- One row when active users were not synced in full for two days. No user is late before the first sync has ended.
SELECT 'user' AS kind, count(*) AS found, min(coalesce(last_synced_at, registered_at)) AS since
FROM asleep.users
WHERE is_synced
    AND coalesce(last_synced_at, registered_at) < now() - interval '48 hours'
HAVING count(*) > 0
