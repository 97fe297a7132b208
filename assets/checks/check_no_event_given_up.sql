-- No webhook event was given up. The sessions come with the next sync anyway; look why. An event is given up after
-- five attempts, or because it names no user.
SELECT 'event' AS kind, count(*) AS found, min(received_at) AS since
FROM asleep.webhook_events
WHERE processed_at IS NOT NULL
    AND error IS NOT NULL
HAVING count(*) > 0
