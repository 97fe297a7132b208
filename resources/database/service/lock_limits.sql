-- The counters of one client, made when missing and locked in one order.
INSERT INTO asleep.service_limits AS kept (client, scope, window_start, used, used_before)
SELECT :client, scope, clock_timestamp(), 0, 0
FROM unnest(CAST(:scopes AS text[])) AS wanted (scope)
ORDER BY scope
ON CONFLICT (client, scope) DO UPDATE
SET used = kept.used
RETURNING scope, window_start, used, used_before, clock_timestamp() AS now
