-- Events given up, the newest first.
SELECT event_id, received_at, processed_at AS parked_at, attempts, error
FROM asleep.webhook_events
WHERE processed_at IS NOT NULL AND error IS NOT NULL
ORDER BY event_id DESC
LIMIT :limit
