-- One row: active users of whom nothing was requested since a moment: neither synced in full nor known to have failed
-- or to be missing.
SELECT count(*) AS users
FROM asleep.users AS u
WHERE u.is_synced
    AND u.registered_at < :since
    AND u.not_found_since IS NULL
    AND (u.last_synced_at IS NULL OR u.last_synced_at < :since)
    AND NOT EXISTS (
        SELECT FROM asleep.sync_failures AS f
        WHERE f.user_id = u.user_id AND f.resolved_at IS NULL AND f.kind <> 'disagrees'
    )
