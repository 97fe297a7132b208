-- Closes failures that were not met again. A deletion that was held back stays open while the API does not find the
-- session and it is not marked as deleted.
UPDATE asleep.sync_failures AS failure
SET resolved_at = now()
WHERE failure.failure_id = ANY(CAST(:failure_ids AS bigint []))
    AND failure.resolved_at IS NULL
    AND (
        failure.kind <> 'deletion_held'
        OR failure.session_id <> ALL(CAST(:not_found AS text []))
        OR EXISTS (
            SELECT FROM asleep.sleep_sessions AS s
            WHERE s.session_id = failure.session_id
                AND s.deleted_at IS NOT NULL
        )
    )
