-- One row: how much is missing, and how long ago the user was synced who has waited longest. The service may read no
-- ids here.
SELECT
    (SELECT count(kind) FROM asleep.missing_data) AS missing_data,
    count(*) FILTER (WHERE last_synced_at IS NULL) AS never_synced_users,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(last_synced_at)), 0)::double precision AS oldest_sync_seconds
FROM asleep.users
WHERE is_synced
