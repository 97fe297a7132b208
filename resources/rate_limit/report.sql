-- Reports one throttled or broken attempt, or any result of a probe. Requests under way together are throttled
-- together: only one reserved after a cut cuts again.
CREATE OR REPLACE FUNCTION asleep.report_outcome(
    the_key text,
    reserved_at float8, -- as reserve_slots returned it with the attempt's slot
    outcome text, retry_after_seconds float8,
    cut_factor float8, min_factor float8, recovery_per_second float8, pause_seconds float8, max_pause_seconds float8,
    failures_to_open float8, min_open_seconds float8, max_open_seconds float8,
    OUT moment float8
) LANGUAGE plpgsql AS $$
DECLARE
    r asleep.rate_limits;
BEGIN
    SET LOCAL synchronous_commit TO off;
    SELECT * INTO r FROM asleep.rate_limits WHERE key_id = the_key FOR NO KEY UPDATE;
    moment := extract(EPOCH FROM clock_timestamp());

    IF outcome = 'throttled' THEN
        IF reserved_at > r.throttled_at THEN
            r.throttle_factor := GREATEST(min_factor, cut_factor * LEAST(1, r.throttle_factor
                + recovery_per_second * GREATEST(0, moment - GREATEST(r.throttled_at, r.paused_until))));
            r.throttled_at := moment;
        END IF;
        r.paused_until := GREATEST(
            r.paused_until, moment + LEAST(COALESCE(retry_after_seconds, pause_seconds), max_pause_seconds)
        );
    END IF;
    r.failed_at := CASE WHEN outcome = 'broken' THEN moment ELSE r.failed_at END;
    IF r.circuit = 'half_open' AND reserved_at = r.probe_reserved_at THEN
        IF outcome = 'broken' THEN -- wait as long again as the circuit has been open
            r.circuit := 'open';
            r.probe_at := moment + LEAST(max_open_seconds, moment - r.circuit_since);
        ELSE
            r.circuit := 'closed';
            r.circuit_since := moment;
            r.failures := 0;
        END IF;
    ELSIF outcome = 'broken' AND r.circuit = 'closed' AND reserved_at > r.circuit_since THEN
        r.failures := r.failures + 1;
        IF r.failures >= failures_to_open THEN
            r.circuit := 'open';
            r.circuit_since := moment;
            r.probe_at := moment + min_open_seconds;
        END IF;
    END IF;

    UPDATE asleep.rate_limits SET
        (throttle_factor, throttled_at, paused_until) = (r.throttle_factor, r.throttled_at, r.paused_until),
        (circuit, circuit_since, failures, failed_at, probe_at)
        = (r.circuit, r.circuit_since, r.failures, r.failed_at, r.probe_at)
    WHERE key_id = the_key;
END
$$;
