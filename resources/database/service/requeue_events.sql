-- Events given up, all or those named, to be tried again.
UPDATE asleep.webhook_events
SET processed_at = NULL, error = NULL, attempts = 0, next_attempt_at = clock_timestamp()
WHERE processed_at IS NOT NULL AND error IS NOT NULL AND (CAST(:ids AS bigint[]) IS NULL OR event_id = ANY (:ids))
RETURNING event_id
