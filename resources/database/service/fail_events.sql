-- Events that could not be handled: tried again after a pause, or given up.
UPDATE asleep.webhook_events AS event
SET error = failed.message,
    processed_at = CASE WHEN attempts >= :max_attempts OR failed.hopeless THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp() + make_interval(secs => :first_pause_seconds * 4 ^ (greatest(attempts, 1) - 1))
FROM unnest(CAST(:ids AS bigint[]), CAST(:messages AS text[]), CAST(:hopeless AS boolean[]))
    AS failed (event_id, message, hopeless)
WHERE event.event_id = failed.event_id AND event.processed_at IS NULL
RETURNING event.event_id, event.attempts, event.processed_at IS NOT NULL AS parked
