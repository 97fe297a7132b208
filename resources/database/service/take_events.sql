-- Events of one kind that are due, taken for one attempt. Another process that takes events at the same moment gets
-- others.
WITH due AS (
    SELECT event_id
    FROM asleep.webhook_events
    WHERE processed_at IS NULL AND next_attempt_at <= clock_timestamp() AND must_ask = :must_ask
    ORDER BY next_attempt_at, event_id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE asleep.webhook_events AS event
SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM due
WHERE event.event_id = due.event_id
RETURNING event.event_id, event.body, event.headers, event.received_at, event.attempts
