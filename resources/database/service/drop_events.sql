-- Events given up, all or those named, removed.
DELETE FROM asleep.webhook_events
WHERE processed_at IS NOT NULL AND error IS NOT NULL AND (CAST(:ids AS bigint[]) IS NULL OR event_id = ANY (:ids))
RETURNING event_id
