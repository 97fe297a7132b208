-- One row when webhook events used to arrive and none has come for 24 hours. `since` is the last one's arrival.
SELECT 'silence' AS kind, 1 AS found, max(received_at) AS since
FROM asleep.webhook_events
HAVING max(received_at) < now() - interval '24 hours'
