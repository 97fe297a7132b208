-- Asks for the next slots of one API key. One row back, also when none is granted: how many, from when, how far
-- apart, and what the fleet has agreed on meanwhile. No row back: the key is not registered yet.
-- `held` takes the lock first and reads the clock after it: slots never overlap, and only this clock counts. Each
-- step is materialized, or the planner writes every expression out wherever it is named: twice the time.
WITH held AS MATERIALIZED (
    SELECT
        *,
        clock_timestamp() AS now
    FROM asleep.rate_limits
    WHERE key_id = :key_id
    FOR NO KEY UPDATE
),
agreed AS MATERIALIZED (
    SELECT
        held.*,
        :requests_per_second <= requests_per_second OR now > announced_at + interval '1 minute' AS announces,
        GREATEST(0, floor(extract(EPOCH FROM now - recovering_since) / :recovery_step_seconds)) AS steps,
        -- A moment this far ahead was written before the server's clock was set back.
        now + interval '10 minutes' AS too_far_at,
        circuit = 'closed' AND :answered > 0 AS counts_answers,
        CASE WHEN recent_at > now - interval '1 minute' THEN recent_answered ELSE 0 END AS old_answered,
        CASE WHEN recent_at > now - interval '1 minute' THEN recent_broken ELSE 0 END AS old_broken
    FROM held
),
paced AS MATERIALIZED (
    SELECT
        agreed.*,
        LEAST(1, throttle_factor + :recovery_step * steps) AS factor,
        CASE WHEN announces THEN :requests_per_second ELSE agreed.requests_per_second END AS announced,
        (circuit <> 'closed' AND (now >= probe_at OR probe_at > too_far_at)) AS may_probe,
        LEAST(1, 40 / GREATEST(1, old_answered + old_broken + :answered)) AS fading
    FROM agreed
),
spaced AS MATERIALIZED (
    SELECT
        paced.*,
        (1 + :margin_seconds) / (announced * factor) AS spacing_seconds
    FROM paced
),
placed AS MATERIALIZED (
    SELECT
        spaced.*,
        GREATEST(
            CASE
                WHEN next_slot_at > too_far_at + 100 * spacing_seconds * interval '1 second' THEN now
                WHEN next_slot_at
                    < now - LEAST(:catch_up_seconds, :catch_up_slots * spacing_seconds) * interval '1 second'
                    THEN now
                ELSE next_slot_at + :push_seconds * interval '1 second'
            END,
            now + NULLIF(:settle_seconds, 0) * interval '1 second',
            CASE WHEN paused_until < too_far_at THEN paused_until END
        ) AS first_slot_at,
        CASE
            WHEN circuit = 'closed' THEN :wanted
            WHEN may_probe THEN LEAST(1, :wanted)
            ELSE 0
        END AS allowed
    FROM spaced
),
granted AS MATERIALIZED (
    SELECT
        placed.*,
        LEAST(
            allowed,
            GREATEST(
                0,
                1 + floor((:patience_seconds - extract(EPOCH FROM first_slot_at - now)) / spacing_seconds)
            )
        ) AS slots
    FROM placed
)
UPDATE asleep.rate_limits AS r
SET
    requests_per_second = g.announced,
    announced_at = CASE WHEN g.announces THEN g.now ELSE g.announced_at END,
    next_slot_at = CASE
        WHEN g.slots > 0 THEN g.first_slot_at + g.slots * g.spacing_seconds * interval '1 second'
        ELSE g.next_slot_at + :push_seconds * interval '1 second'
    END,
    slots_given = g.slots_given + g.slots,
    held_back = CASE
        WHEN g.held_back || :held_back = '{}' THEN g.held_back
        ELSE (
            SELECT COALESCE(jsonb_object_agg(key, value), '{}')
            FROM jsonb_each(g.held_back || :held_back)
            WHERE CAST(value AS double precision) > extract(EPOCH FROM g.now)
        )
    END,
    throttle_factor = g.factor,
    recovering_since = g.recovering_since + g.steps * :recovery_step_seconds * interval '1 second',
    circuit = CASE WHEN g.slots > 0 AND g.may_probe THEN 'half_open' ELSE g.circuit END,
    probe_at = CASE
        WHEN g.slots > 0 AND g.may_probe THEN g.first_slot_at + :probe_lease_seconds * interval '1 second'
        ELSE g.probe_at
    END,
    probe_slot_at = CASE WHEN g.slots > 0 AND g.may_probe THEN g.first_slot_at ELSE g.probe_slot_at END,
    failures_in_row = CASE WHEN g.counts_answers THEN 0 ELSE g.failures_in_row END,
    recent_answered = CASE
        WHEN g.counts_answers THEN g.fading * (g.old_answered + :answered)
        ELSE g.recent_answered
    END,
    recent_broken = CASE WHEN g.counts_answers THEN g.fading * g.old_broken ELSE g.recent_broken END,
    recent_at = CASE WHEN g.counts_answers THEN g.now ELSE g.recent_at END,
    updated_at = g.now
FROM granted AS g
WHERE r.key_id = g.key_id
RETURNING
    CAST(g.slots AS integer) AS slots,
    g.slots_given AS first_number,
    CAST(extract(EPOCH FROM g.now) AS double precision) AS now,
    CAST(extract(EPOCH FROM g.first_slot_at) AS double precision) AS first_slot,
    CAST(g.spacing_seconds AS double precision) AS spacing_seconds,
    r.requests_per_second,
    r.held_back,
    r.epoch,
    r.circuit,
    g.slots > 0 AND g.may_probe AS is_probe,
    r.failures_in_row,
    CAST(extract(EPOCH FROM r.paused_until) AS double precision) AS paused_until,
    CAST(extract(EPOCH FROM r.opened_at) AS double precision) AS opened_at,
    CAST(extract(EPOCH FROM r.probe_at) AS double precision) AS probe_at,
    CAST(extract(EPOCH FROM r.broken_at) AS double precision) AS broken_at
