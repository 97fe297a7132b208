-- Takes events that are no longer given up off the missing data. Those that name neither user nor session share one
-- row: it stays while any event is given up.
UPDATE asleep.sync_failures
SET resolved_at = clock_timestamp()
WHERE kind = 'webhook_event'
    AND resolved_at IS NULL
    AND CASE
        WHEN user_id = '' AND session_id IS NULL THEN NOT :some_are_parked
        ELSE split_part(message, ':', 1) = ANY(CAST(:events AS text []))
    END
