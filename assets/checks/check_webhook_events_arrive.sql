-- Webhook events used to arrive, and one came within the last 24 hours. While this fails, look at the callback
-- address in the app, at the proxy and at the key; the daily sync brings the sessions meanwhile.
SELECT 'silence' AS kind, 1 AS found, max(received_at) AS since
FROM asleep.webhook_events
HAVING max(received_at) < now() - interval '24 hours'
