-- One row: events that wait, and events given up.
SELECT
    count(*) AS waiting,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(received_at)), 0)::double precision AS oldest_seconds,
    (SELECT count(*) FROM asleep.webhook_events WHERE processed_at IS NOT NULL AND error IS NOT NULL) AS parked
FROM asleep.webhook_events
WHERE processed_at IS NULL
