-- Reserves the next slots of one API key; `wanted` = 0 only writes `late_seconds` and `silent_seconds`.
-- Takes the row's lock first and reads the clock after it: slots never overlap, and only the database's clock counts.
-- Moments are seconds since 1970. Commits do not wait for the disk (see SILENT_SECONDS in shared_row.py).
-- A change here or in report.sql needs a migration (it may be empty): older databases are refused by their revision.
-- Only a change of arguments or results drops the function, in that migration: a sync may be calling it.
CREATE OR REPLACE FUNCTION asleep.reserve_slots(
    the_key text,
    announced_rate float8, -- the lowest one announced within a minute counts
    wanted integer,
    answered integer, -- plain responses since the last call: they let failures fade
    late_seconds float8, -- by how much later slots move because requests were sent late
    silent_seconds float8, -- no slot earlier than this from now
    margin_seconds float8, loose_seconds float8, block_seconds float8, ahead_seconds float8, -- see LimiterConfig
    recovery_per_second float8, probe_lease_seconds float8,
    OUT slots integer, OUT moment float8, OUT spacing_seconds float8, OUT is_probe boolean,
    OUT first_slot float8, -- without slots: no use in asking much before this moment
    OUT usable_seconds float8, -- each slot may be used for this long after its moment
    OUT reason text -- why there are no slots
) LANGUAGE plpgsql AS $$
DECLARE
    r asleep.rate_limits;
    is_loose boolean;
    rate float8;
BEGIN
    SET LOCAL synchronous_commit TO off;
    -- Where the server's clock was set back, the moments in the row mean nothing.
    DELETE FROM asleep.rate_limits WHERE key_id = the_key AND updated_at > extract(EPOCH FROM clock_timestamp()) + 60;
    silent_seconds := CASE WHEN FOUND THEN GREATEST(silent_seconds, 1) ELSE silent_seconds END;
    INSERT INTO asleep.rate_limits (key_id, requests_per_second) VALUES (the_key, announced_rate)
    ON CONFLICT DO NOTHING;
    SELECT * INTO r FROM asleep.rate_limits WHERE key_id = the_key FOR NO KEY UPDATE;
    moment := extract(EPOCH FROM clock_timestamp());
    IF announced_rate <= r.requests_per_second OR moment > r.announced_at + 60 THEN
        r.requests_per_second := announced_rate;
        r.announced_at := moment;
    END IF;
    rate := r.requests_per_second * LEAST(1, r.throttle_factor
        + recovery_per_second * GREATEST(0, moment - GREATEST(r.throttled_at, r.paused_until)));

    -- Seconds for which the next slot lay in the past, fading by half in a third of a second. Above a quarter of a
    -- second the rate does not bind; a stall of one process is shorter.
    r.idle_seconds := LEAST(0.5, GREATEST(0, moment - r.next_slot)
        + r.idle_seconds * exp(-2 * LEAST(10, GREATEST(0, moment - r.updated_at))));
    is_loose := r.idle_seconds > 0.25;

    -- The time of late requests is added after the jump to the present, or it would be lost in the past.
    r.next_slot := late_seconds + GREATEST(
        r.next_slot,
        moment - CASE WHEN is_loose THEN 0.3 * loose_seconds ELSE 0.004 END,
        CASE WHEN silent_seconds > 0 THEN moment + silent_seconds END
    );
    first_slot := GREATEST(r.next_slot, r.paused_until);
    -- A slot that may be used late must be further by as much from the slot one whole limit later, loose or not.
    usable_seconds := CASE WHEN is_loose THEN loose_seconds ELSE 0 END;
    spacing_seconds := (1 + margin_seconds
        + CASE WHEN is_loose OR first_slot < r.loose_until THEN loose_seconds ELSE 0 END) / rate;

    is_probe := r.circuit <> 'closed' AND moment >= r.probe_at;
    slots := GREATEST(0, LEAST(
        CASE
            WHEN r.circuit <> 'closed' THEN LEAST(wanted, CAST(is_probe AS integer))
            WHEN is_loose AND wanted > 0 THEN GREATEST(wanted, ceil(1.25 * answered))
            ELSE wanted
        END,
        GREATEST(1, floor(block_seconds / spacing_seconds)),
        1 + floor((moment + ahead_seconds - first_slot) / spacing_seconds)
    ));
    IF slots > 0 THEN
        r.next_slot := first_slot + slots * spacing_seconds;
        IF is_loose THEN
            r.loose_until := r.next_slot + 1 + margin_seconds + loose_seconds;
        END IF;
        IF is_probe THEN
            r.circuit := 'half_open';
            r.probe_reserved_at := moment;
            r.probe_at := first_slot + probe_lease_seconds;
        END IF;
    ELSE
        first_slot := CASE r.circuit WHEN 'open' THEN GREATEST(first_slot, r.probe_at)
            WHEN 'half_open' THEN moment + ahead_seconds ELSE first_slot END; -- a probe may come back at any time
        reason := concat(CASE
            WHEN r.circuit <> 'closed' THEN concat('circuit breaker open since ', to_timestamp(floor(r.circuit_since)))
            WHEN r.paused_until > moment THEN 'the API throttles requests'
            ELSE concat('the rate limit is ', rate, '/s now')
        END, ', next permit at ', to_timestamp(floor(first_slot)));
    END IF;

    UPDATE asleep.rate_limits SET
        (requests_per_second, announced_at, next_slot, loose_until, idle_seconds)
        = (r.requests_per_second, r.announced_at, r.next_slot, r.loose_until, r.idle_seconds),
        (circuit, failures, probe_at, probe_reserved_at, updated_at)
        = (r.circuit, GREATEST(0, r.failures - 0.5 * answered), r.probe_at, r.probe_reserved_at, moment)
    WHERE key_id = the_key;
END
$$;
