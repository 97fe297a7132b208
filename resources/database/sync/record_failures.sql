-- Failures of this run: a new row, or one more attempt of an unresolved one, its window widened.
INSERT INTO asleep.sync_failures AS stored (
    user_id, session_id, window_start, window_end, kind, message, raw_body, attempts
)
SELECT user_id, session_id, window_start, window_end, kind, message, raw_body, attempts
FROM unnest(
    CAST(:user_id AS text []), CAST(:session_id AS text []), CAST(:window_start AS timestamptz []),
    CAST(:window_end AS timestamptz []), CAST(:kind AS text []), CAST(:message AS text []), CAST(:raw_body AS bytea []),
    CAST(:times AS integer [])
) AS failed (user_id, session_id, window_start, window_end, kind, message, raw_body, attempts)
ORDER BY user_id, session_id
ON CONFLICT (user_id, coalesce(session_id, '')) WHERE resolved_at IS NULL DO UPDATE
    SET
        window_start = least(stored.window_start, excluded.window_start),
        window_end = greatest(stored.window_end, excluded.window_end),
        kind = excluded.kind,
        message = excluded.message,
        raw_body = excluded.raw_body,
        attempts = stored.attempts + 1,
        first_failed_at = CASE
            WHEN excluded.kind = 'deletion_held' AND stored.kind <> 'deletion_held' THEN now()
            ELSE stored.first_failed_at
        END,
        last_failed_at = now()
    -- A hole outweighs a contradiction, which the next reconciliation finds again, and an event, which can be dropped.
    WHERE stored.kind IN ('disagrees', excluded.kind)
        OR excluded.kind NOT IN ('disagrees', 'webhook_event')
