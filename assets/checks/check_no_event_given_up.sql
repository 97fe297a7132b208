-- One row when webhook events were given up: after five attempts, or because they name no user.
SELECT 'event' AS kind, count(*) AS found, min(received_at) AS since
FROM asleep.webhook_events
WHERE processed_at IS NOT NULL
    AND error IS NOT NULL
HAVING count(*) > 0
