-- One row per API key, as a person wants to read it: what is in force now, not what was last written.
SELECT
    key_id,
    requests_per_second,
    requests_per_second * LEAST(
        1,
        throttle_factor + :recovery_step * GREATEST(
            0, floor(extract(EPOCH FROM clock_timestamp() - recovering_since) / :recovery_step_seconds)
        )
    ) AS rate_in_force,
    throttled_at,
    CASE WHEN paused_until > clock_timestamp() THEN paused_until END AS paused_until,
    circuit,
    opened_at AS open_since,
    CASE WHEN circuit = 'open' THEN probe_at END AS next_probe_at,
    failures_in_row,
    broken_at AS last_failure_at,
    updated_at
FROM asleep.rate_limits
ORDER BY updated_at DESC
