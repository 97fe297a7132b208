-- What is in force now, for people: one row per API key.
SELECT
    key_id,
    requests_per_second,
    requests_per_second * LEAST(1, throttle_factor + :recovery_per_second * GREATEST(
        0, extract(EPOCH FROM clock_timestamp()) - GREATEST(throttled_at, paused_until)
    )) AS rate_in_force,
    to_timestamp(NULLIF(throttled_at, 0)) AS throttled_at,
    CASE WHEN paused_until > extract(EPOCH FROM clock_timestamp()) THEN to_timestamp(paused_until) END AS paused_until,
    circuit,
    CASE WHEN circuit <> 'closed' THEN to_timestamp(circuit_since) END AS open_since,
    CASE WHEN circuit = 'open' THEN to_timestamp(probe_at) END AS next_probe_at,
    failures AS recent_failures,
    to_timestamp(NULLIF(failed_at, 0)) AS last_failure_at,
    to_timestamp(updated_at) AS updated_at
FROM asleep.rate_limits
ORDER BY updated_at DESC
