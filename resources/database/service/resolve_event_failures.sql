-- The failures that events given up had left behind.
UPDATE asleep.sync_failures
SET resolved_at = clock_timestamp()
WHERE kind = 'webhook_event' AND resolved_at IS NULL
    AND substring(message FROM '^event ([0-9]+):') = ANY (CAST(:ids AS text[]))
