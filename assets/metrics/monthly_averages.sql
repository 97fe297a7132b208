-- Monthly averages: computes every user-month anew whose sessions changed, and answers with one row of counts.
--
-- One row of asleep.monthly_averages is one user and one local month (of the session's start). Averages run over
-- slept sessions, each over its non-null values: means of durations and counts, ratios of summed durations,
-- circular means of clock times (23:50 and 00:10 meet at midnight, not at noon; opposite times meet nowhere: null).
--
-- The parameter `month` narrows the work to one month; null means all.
--
-- Beside concurrent writers: all parts of the statement read one snapshot. A writer raises `version` in the
-- transaction that changes the sessions, so where the version still is the snapshot's, the sessions are, too.
-- `settled` looks at the newest version of each row and locks it; a row that moved on, or that somebody holds, is
-- left alone with its averages and stays queued. Only a row taken off the queue gets its averages written, so an
-- older snapshot never overwrites what a newer one wrote.
WITH due AS (
    SELECT user_id, month, version
    FROM asleep.stale_months
    WHERE CAST(:month AS date) IS NULL OR month = CAST(:month AS date)
),
summed AS (
    SELECT due.*, total.*
    FROM due
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS sessions,
            count(*) FILTER (WHERE slept) AS slept_sessions,
            count(*) FILTER (WHERE never_slept) AS never_slept_sessions,
            bit_count(bit_or(1 << (local_date - local_month)) FILTER (WHERE slept)::bit(32)) AS nights,
            sum(sin(start_angle)) FILTER (WHERE slept) AS start_sine,
            sum(cos(start_angle)) FILTER (WHERE slept) AS start_cosine,
            count(start_angle) FILTER (WHERE slept) AS start_angles,
            sum(sin(end_angle)) FILTER (WHERE slept) AS end_sine,
            sum(cos(end_angle)) FILTER (WHERE slept) AS end_cosine,
            count(end_angle) FILTER (WHERE slept) AS end_angles,
            sum(sin(sleep_angle)) FILTER (WHERE slept) AS sleep_sine,
            sum(cos(sleep_angle)) FILTER (WHERE slept) AS sleep_cosine,
            count(sleep_angle) FILTER (WHERE slept) AS sleep_angles,
            sum(sin(wake_angle)) FILTER (WHERE slept) AS wake_sine,
            sum(cos(wake_angle)) FILTER (WHERE slept) AS wake_cosine,
            count(wake_angle) FILTER (WHERE slept) AS wake_angles,
            avg(sleep_index) FILTER (WHERE slept) AS avg_sleep_index,
            avg(sleep_latency) FILTER (WHERE slept) AS avg_sleep_latency,
            avg(wakeup_latency) FILTER (WHERE slept) AS avg_wakeup_latency,
            avg(light_latency) FILTER (WHERE slept) AS avg_light_latency,
            avg(deep_latency) FILTER (WHERE slept) AS avg_deep_latency,
            avg(rem_latency) FILTER (WHERE slept) AS avg_rem_latency,
            avg(time_in_bed) FILTER (WHERE slept) AS avg_time_in_bed,
            avg(time_in_sleep_period) FILTER (WHERE slept) AS avg_time_in_sleep_period,
            avg(time_in_sleep) FILTER (WHERE slept) AS avg_time_in_sleep,
            avg(time_in_wake) FILTER (WHERE slept) AS avg_time_in_wake,
            avg(time_in_light) FILTER (WHERE slept) AS avg_time_in_light,
            avg(time_in_deep) FILTER (WHERE slept) AS avg_time_in_deep,
            avg(time_in_rem) FILTER (WHERE slept) AS avg_time_in_rem,
            avg(time_in_stable_breath) FILTER (WHERE slept) AS avg_time_in_stable_breath,
            avg(time_in_unstable_breath) FILTER (WHERE slept) AS avg_time_in_unstable_breath,
            avg(time_in_snoring) FILTER (WHERE slept) AS avg_time_in_snoring,
            avg(time_in_no_snoring) FILTER (WHERE slept) AS avg_time_in_no_snoring,
            avg(breathing_index::numeric) FILTER (WHERE slept) AS avg_breathing_index,
            avg(unstable_breath_count) FILTER (WHERE slept) AS avg_unstable_breath_count,
            avg(waso_count) FILTER (WHERE slept) AS avg_waso_count,
            avg(longest_waso) FILTER (WHERE slept) AS avg_longest_waso,
            avg(sleep_cycle_count) FILTER (WHERE slept) AS avg_sleep_cycle_count,
            avg(sleep_cycle::numeric) FILTER (WHERE slept) AS avg_sleep_cycle,
            avg(snoring_count) FILTER (WHERE slept) AS avg_snoring_count,
            sum(time_in_sleep) FILTER (WHERE slept AND time_in_bed IS NOT NULL)::double precision
                / nullif(sum(time_in_bed) FILTER (WHERE slept AND time_in_sleep IS NOT NULL), 0)
                AS avg_sleep_efficiency,
            sum(time_in_sleep) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_sleep IS NOT NULL), 0)
                AS avg_sleep_ratio,
            sum(time_in_wake) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_wake IS NOT NULL), 0)
                AS avg_wake_ratio,
            sum(time_in_light) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_light IS NOT NULL), 0)
                AS avg_light_ratio,
            sum(time_in_deep) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_deep IS NOT NULL), 0)
                AS avg_deep_ratio,
            sum(time_in_rem) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_rem IS NOT NULL), 0)
                AS avg_rem_ratio,
            sum(time_in_stable_breath) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_stable_breath IS NOT NULL), 0)
                AS avg_stable_breath_ratio,
            sum(time_in_unstable_breath) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_unstable_breath IS NOT NULL), 0)
                AS avg_unstable_breath_ratio,
            sum(time_in_snoring) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_snoring IS NOT NULL), 0)
                AS avg_snoring_ratio,
            sum(time_in_no_snoring) FILTER (WHERE slept AND time_in_sleep_period IS NOT NULL)::double precision
                / nullif(sum(time_in_sleep_period) FILTER (WHERE slept AND time_in_no_snoring IS NOT NULL), 0)
                AS avg_no_snoring_ratio
        FROM (
            SELECT
                *,
                date_part('epoch', session_start_local::time) * pi() / 43200 AS start_angle,
                date_part('epoch', session_end_local::time) * pi() / 43200 AS end_angle,
                date_part('epoch', sleep_time_local::time) * pi() / 43200 AS sleep_angle,
                date_part('epoch', wake_time_local::time) * pi() / 43200 AS wake_angle
            FROM asleep.sleep_sessions
            WHERE user_id = due.user_id AND local_month = due.month AND deleted_at IS NULL
            OFFSET 0 -- judged once a session, not once for each of the sums above
        ) AS existing
    ) AS total
),
settled AS (
    SELECT computed.*
    FROM (SELECT * FROM summed ORDER BY user_id, month) AS computed
    CROSS JOIN LATERAL (
        SELECT FROM asleep.stale_months AS queued
        WHERE queued.user_id = computed.user_id AND queued.month = computed.month AND queued.version = computed.version
        FOR UPDATE SKIP LOCKED
    ) AS newest
),
taken AS (
    DELETE FROM asleep.stale_months AS queued
    USING settled
    WHERE queued.user_id = settled.user_id AND queued.month = settled.month AND queued.version = settled.version
    RETURNING settled.*
),
written AS (
    INSERT INTO asleep.monthly_averages AS stored (
        user_id, month, sessions, slept_sessions, never_slept_sessions, unanalysed_sessions, nights, avg_start_time,
        avg_end_time, avg_sleep_time, avg_wake_time, avg_sleep_index, avg_sleep_latency, avg_wakeup_latency,
        avg_light_latency, avg_deep_latency, avg_rem_latency, avg_time_in_bed, avg_time_in_sleep_period,
        avg_time_in_sleep, avg_time_in_wake, avg_time_in_light, avg_time_in_deep, avg_time_in_rem,
        avg_time_in_stable_breath, avg_time_in_unstable_breath, avg_time_in_snoring, avg_time_in_no_snoring,
        avg_breathing_index, avg_unstable_breath_count, avg_waso_count, avg_longest_waso, avg_sleep_cycle_count,
        avg_sleep_cycle, avg_snoring_count, avg_sleep_efficiency, avg_sleep_ratio, avg_wake_ratio, avg_light_ratio,
        avg_deep_ratio, avg_rem_ratio, avg_stable_breath_ratio, avg_unstable_breath_ratio, avg_snoring_ratio,
        avg_no_snoring_ratio
    )
    SELECT
        user_id, month, sessions, slept_sessions, never_slept_sessions,
        sessions - slept_sessions - never_slept_sessions, coalesce(nights, 0),
        CASE
            WHEN sqrt(start_sine ^ 2 + start_cosine ^ 2) > 1e-6 * start_angles
                THEN time '00:00' + make_interval(
                    secs => round(round((atan2(start_sine, start_cosine) * 43200 / pi())::numeric, 6))::integer
                )
        END,
        CASE
            WHEN sqrt(end_sine ^ 2 + end_cosine ^ 2) > 1e-6 * end_angles
                THEN time '00:00' + make_interval(
                    secs => round(round((atan2(end_sine, end_cosine) * 43200 / pi())::numeric, 6))::integer
                )
        END,
        CASE
            WHEN sqrt(sleep_sine ^ 2 + sleep_cosine ^ 2) > 1e-6 * sleep_angles
                THEN time '00:00' + make_interval(
                    secs => round(round((atan2(sleep_sine, sleep_cosine) * 43200 / pi())::numeric, 6))::integer
                )
        END,
        CASE
            WHEN sqrt(wake_sine ^ 2 + wake_cosine ^ 2) > 1e-6 * wake_angles
                THEN time '00:00' + make_interval(
                    secs => round(round((atan2(wake_sine, wake_cosine) * 43200 / pi())::numeric, 6))::integer
                )
        END,
        avg_sleep_index, avg_sleep_latency, avg_wakeup_latency, avg_light_latency, avg_deep_latency, avg_rem_latency,
        avg_time_in_bed, avg_time_in_sleep_period, avg_time_in_sleep, avg_time_in_wake, avg_time_in_light,
        avg_time_in_deep, avg_time_in_rem, avg_time_in_stable_breath, avg_time_in_unstable_breath,
        avg_time_in_snoring, avg_time_in_no_snoring, avg_breathing_index, avg_unstable_breath_count, avg_waso_count,
        avg_longest_waso, avg_sleep_cycle_count, avg_sleep_cycle, avg_snoring_count, avg_sleep_efficiency,
        avg_sleep_ratio, avg_wake_ratio, avg_light_ratio, avg_deep_ratio, avg_rem_ratio, avg_stable_breath_ratio,
        avg_unstable_breath_ratio, avg_snoring_ratio, avg_no_snoring_ratio
    FROM taken
    WHERE sessions > 0
    ORDER BY user_id, month
    ON CONFLICT (user_id, month) DO UPDATE SET
        sessions = excluded.sessions,
        slept_sessions = excluded.slept_sessions,
        never_slept_sessions = excluded.never_slept_sessions,
        unanalysed_sessions = excluded.unanalysed_sessions,
        nights = excluded.nights,
        avg_start_time = excluded.avg_start_time,
        avg_end_time = excluded.avg_end_time,
        avg_sleep_time = excluded.avg_sleep_time,
        avg_wake_time = excluded.avg_wake_time,
        avg_sleep_index = excluded.avg_sleep_index,
        avg_sleep_latency = excluded.avg_sleep_latency,
        avg_wakeup_latency = excluded.avg_wakeup_latency,
        avg_light_latency = excluded.avg_light_latency,
        avg_deep_latency = excluded.avg_deep_latency,
        avg_rem_latency = excluded.avg_rem_latency,
        avg_time_in_bed = excluded.avg_time_in_bed,
        avg_time_in_sleep_period = excluded.avg_time_in_sleep_period,
        avg_time_in_sleep = excluded.avg_time_in_sleep,
        avg_time_in_wake = excluded.avg_time_in_wake,
        avg_time_in_light = excluded.avg_time_in_light,
        avg_time_in_deep = excluded.avg_time_in_deep,
        avg_time_in_rem = excluded.avg_time_in_rem,
        avg_time_in_stable_breath = excluded.avg_time_in_stable_breath,
        avg_time_in_unstable_breath = excluded.avg_time_in_unstable_breath,
        avg_time_in_snoring = excluded.avg_time_in_snoring,
        avg_time_in_no_snoring = excluded.avg_time_in_no_snoring,
        avg_breathing_index = excluded.avg_breathing_index,
        avg_unstable_breath_count = excluded.avg_unstable_breath_count,
        avg_waso_count = excluded.avg_waso_count,
        avg_longest_waso = excluded.avg_longest_waso,
        avg_sleep_cycle_count = excluded.avg_sleep_cycle_count,
        avg_sleep_cycle = excluded.avg_sleep_cycle,
        avg_snoring_count = excluded.avg_snoring_count,
        avg_sleep_efficiency = excluded.avg_sleep_efficiency,
        avg_sleep_ratio = excluded.avg_sleep_ratio,
        avg_wake_ratio = excluded.avg_wake_ratio,
        avg_light_ratio = excluded.avg_light_ratio,
        avg_deep_ratio = excluded.avg_deep_ratio,
        avg_rem_ratio = excluded.avg_rem_ratio,
        avg_stable_breath_ratio = excluded.avg_stable_breath_ratio,
        avg_unstable_breath_ratio = excluded.avg_unstable_breath_ratio,
        avg_snoring_ratio = excluded.avg_snoring_ratio,
        avg_no_snoring_ratio = excluded.avg_no_snoring_ratio,
        computed_at = now()
    WHERE (
        stored.sessions, stored.slept_sessions, stored.never_slept_sessions, stored.unanalysed_sessions,
        stored.nights, stored.avg_start_time, stored.avg_end_time, stored.avg_sleep_time, stored.avg_wake_time,
        stored.avg_sleep_index, stored.avg_sleep_latency, stored.avg_wakeup_latency, stored.avg_light_latency,
        stored.avg_deep_latency, stored.avg_rem_latency, stored.avg_time_in_bed, stored.avg_time_in_sleep_period,
        stored.avg_time_in_sleep, stored.avg_time_in_wake, stored.avg_time_in_light, stored.avg_time_in_deep,
        stored.avg_time_in_rem, stored.avg_time_in_stable_breath, stored.avg_time_in_unstable_breath,
        stored.avg_time_in_snoring, stored.avg_time_in_no_snoring, stored.avg_breathing_index,
        stored.avg_unstable_breath_count, stored.avg_waso_count, stored.avg_longest_waso,
        stored.avg_sleep_cycle_count, stored.avg_sleep_cycle, stored.avg_snoring_count, stored.avg_sleep_efficiency,
        stored.avg_sleep_ratio, stored.avg_wake_ratio, stored.avg_light_ratio, stored.avg_deep_ratio,
        stored.avg_rem_ratio, stored.avg_stable_breath_ratio, stored.avg_unstable_breath_ratio,
        stored.avg_snoring_ratio, stored.avg_no_snoring_ratio
    ) IS DISTINCT FROM (
        excluded.sessions, excluded.slept_sessions, excluded.never_slept_sessions, excluded.unanalysed_sessions,
        excluded.nights, excluded.avg_start_time, excluded.avg_end_time, excluded.avg_sleep_time,
        excluded.avg_wake_time, excluded.avg_sleep_index, excluded.avg_sleep_latency, excluded.avg_wakeup_latency,
        excluded.avg_light_latency, excluded.avg_deep_latency, excluded.avg_rem_latency, excluded.avg_time_in_bed,
        excluded.avg_time_in_sleep_period, excluded.avg_time_in_sleep, excluded.avg_time_in_wake,
        excluded.avg_time_in_light, excluded.avg_time_in_deep, excluded.avg_time_in_rem,
        excluded.avg_time_in_stable_breath, excluded.avg_time_in_unstable_breath, excluded.avg_time_in_snoring,
        excluded.avg_time_in_no_snoring, excluded.avg_breathing_index, excluded.avg_unstable_breath_count,
        excluded.avg_waso_count, excluded.avg_longest_waso, excluded.avg_sleep_cycle_count, excluded.avg_sleep_cycle,
        excluded.avg_snoring_count, excluded.avg_sleep_efficiency, excluded.avg_sleep_ratio, excluded.avg_wake_ratio,
        excluded.avg_light_ratio, excluded.avg_deep_ratio, excluded.avg_rem_ratio, excluded.avg_stable_breath_ratio,
        excluded.avg_unstable_breath_ratio, excluded.avg_snoring_ratio, excluded.avg_no_snoring_ratio
    )
    RETURNING user_id
),
removed AS (
    DELETE FROM asleep.monthly_averages AS stored
    USING taken
    WHERE taken.sessions = 0 AND stored.user_id = taken.user_id AND stored.month = taken.month
    RETURNING stored.user_id
)
SELECT
    (SELECT count(*) FROM taken) AS user_months,
    (SELECT count(DISTINCT month) FROM taken) AS months,
    (SELECT count(*) FROM written) AS written,
    (SELECT count(*) FROM removed) AS removed,
    (SELECT count(*) FROM due) - (SELECT count(*) FROM taken) AS still_waiting;
