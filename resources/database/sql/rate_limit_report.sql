-- Reports one turn that was throttled or broken, or a probe's answer, with the plain answers not yet counted.
-- Many turns granted before a cut are throttled together: only one granted after it cuts again.
WITH held AS MATERIALIZED (
    SELECT
        *,
        clock_timestamp() AS now
    FROM asleep.rate_limits
    WHERE key_id = :key_id
    FOR NO KEY UPDATE
),
turned AS MATERIALIZED (
    SELECT
        held.*,
        CAST(:granted_at AS timestamptz) AS granted_at,
        CAST(:retry_after_seconds AS double precision) AS retry_after_seconds,
        GREATEST(0, floor(extract(EPOCH FROM now - recovering_since) / :recovery_step_seconds)) AS steps,
        CASE WHEN recent_at > now - interval '1 minute' THEN recent_answered ELSE 0 END + :answered AS answered,
        CASE WHEN recent_at > now - interval '1 minute' THEN recent_broken ELSE 0 END AS old_broken
    FROM held
),
judged AS MATERIALIZED (
    SELECT
        turned.*,
        :throttled AND granted_at > COALESCE(throttled_at, '-infinity') AS cuts,
        circuit = 'closed' AS counts,
        :broken AND circuit = 'closed' AND granted_at > COALESCE(closed_at, '-infinity') AS counts_broken,
        circuit = 'half_open' AND :is_probe AND granted_at >= probe_slot_at - interval '1 millisecond' AS probed
    FROM turned
),
counted AS MATERIALIZED (
    SELECT
        judged.*,
        CASE
            WHEN counts_broken AND :answered > 0 THEN 1
            WHEN counts_broken THEN failures_in_row + 1
            WHEN :answered > 0 THEN 0
            ELSE failures_in_row
        END AS in_row,
        old_broken + CAST(counts_broken AS integer) AS broken,
        CASE
            WHEN cuts OR (:throttled AND retry_after_seconds IS NOT NULL) THEN
                now + LEAST(COALESCE(retry_after_seconds, :pause_seconds), :longest_pause_seconds)
                * interval '1 second'
        END AS pause_until
    FROM judged
),
decided AS MATERIALIZED (
    SELECT
        counted.*,
        COALESCE(pause_until > COALESCE(paused_until, '-infinity'), FALSE) AS pauses,
        LEAST(1, 40 / GREATEST(1, answered + broken)) AS fading,
        counts_broken AND (
            in_row >= :failures_to_open
            OR (answered + broken >= :attempts_to_judge AND broken >= :share_to_open * (answered + broken))
        ) AS opens,
        probed AND :broken AS reopens,
        probed AND NOT :broken AS closes
    FROM counted
)
UPDATE asleep.rate_limits AS r
SET
    throttle_factor = CASE
        WHEN d.cuts THEN GREATEST(
            :lowest_factor, :cut_factor * LEAST(1, d.throttle_factor + :recovery_step * d.steps)
        )
        ELSE LEAST(1, d.throttle_factor + :recovery_step * d.steps)
    END,
    recovering_since = CASE
        WHEN d.cuts OR d.pauses THEN GREATEST(d.now, d.paused_until, d.pause_until)
        ELSE d.recovering_since + d.steps * :recovery_step_seconds * interval '1 second'
    END,
    throttled_at = CASE WHEN d.cuts THEN d.now ELSE d.throttled_at END,
    paused_until = CASE WHEN d.pauses THEN d.pause_until ELSE d.paused_until END,
    next_slot_at = CASE WHEN d.pauses THEN d.pause_until ELSE d.next_slot_at END,
    epoch = d.epoch + CAST(d.opens OR (d.pauses AND d.counts) AS integer),
    circuit = CASE WHEN d.opens OR d.reopens THEN 'open' WHEN d.closes THEN 'closed' ELSE d.circuit END,
    opened_at = CASE WHEN d.opens THEN d.now WHEN d.closes THEN NULL ELSE d.opened_at END,
    closed_at = CASE WHEN d.closes THEN d.now ELSE d.closed_at END,
    openings = CASE WHEN d.opens THEN 1 WHEN d.reopens THEN d.openings + 1 WHEN d.closes THEN 0 ELSE d.openings END,
    probe_at = CASE
        WHEN d.opens THEN d.now + :shortest_open_seconds * interval '1 second'
        WHEN d.reopens THEN
            d.now + LEAST(:longest_open_seconds, :shortest_open_seconds * 2 ^ LEAST(d.openings, 30)) * interval '1 second'
        WHEN d.closes THEN NULL
        ELSE d.probe_at
    END,
    failures_in_row = CASE
        WHEN d.closes THEN 0
        WHEN d.reopens THEN d.failures_in_row + 1
        WHEN d.counts THEN d.in_row
        ELSE d.failures_in_row
    END,
    recent_answered = CASE WHEN d.closes THEN 0 WHEN d.counts THEN d.fading * d.answered ELSE d.recent_answered END,
    recent_broken = CASE WHEN d.closes THEN 0 WHEN d.counts THEN d.fading * d.broken ELSE d.recent_broken END,
    recent_at = CASE WHEN d.counts THEN d.now ELSE d.recent_at END,
    broken_at = CASE WHEN :broken THEN d.now ELSE d.broken_at END,
    updated_at = d.now
FROM decided AS d
WHERE r.key_id = d.key_id
RETURNING r.epoch
