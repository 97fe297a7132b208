-- Events taken and not tried: due again after a pause; marked as events that must ask the API where that was found.
UPDATE asleep.webhook_events
SET
    attempts = greatest(attempts - 1, 0),
    must_ask = must_ask OR :must_ask,
    next_attempt_at = clock_timestamp() + make_interval(secs => :seconds)
WHERE event_id = ANY (:ids) AND processed_at IS NULL
