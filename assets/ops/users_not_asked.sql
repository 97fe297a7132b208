-- One row: active users of whom nothing was asked since a moment: neither synced in full nor known to have failed.
SELECT count(*) AS users
FROM asleep.users AS u
WHERE u.active
    AND u.gone_at IS NULL
    AND u.registered_at < :since
    AND (u.last_synced_at IS NULL OR u.last_synced_at < :since)
    AND NOT EXISTS (
        SELECT FROM asleep.sync_failures AS f WHERE f.user_id = u.user_id AND f.resolved_at IS NULL AND f.kind <> 'disagrees'
    )
