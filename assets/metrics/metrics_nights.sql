-- One row per main sleep of each user between two dates, clock times in seconds after midnight. Ordered, so that sums
-- of floating point do not change with the plan.
SELECT
    n.user_id,
    n.night_date,
    n.session_id AS episode_id,
    date_part('epoch', n.sleep_time_local::time) AS onset,
    date_part('epoch', n.wake_time_local::time) AS wake,
    date_part('epoch', n.midpoint_local::time) AS midpoint,
    n.midpoint_local,
    n.local_zone,
    date_part('epoch', n.asleep_until - n.asleep_from) AS period_seconds,
    n.time_in_sleep::double precision AS time_in_sleep,
    n.time_in_bed::double precision AS time_in_bed,
    n.time_in_sleep_of_date::double precision AS time_in_sleep_of_date,
    n.sleep_latency::double precision AS latency,
    n.time_in_wake::double precision AS waso,
    n.naps,
    n.is_valid_night
FROM unnest(CAST(:user_ids AS text []), CAST(:firsts AS date []), CAST(:lasts AS date []))
    AS requested (user_id, first, last)
CROSS JOIN LATERAL (
    SELECT *
    FROM asleep.nights
    WHERE nights.user_id = requested.user_id AND nights.night_date BETWEEN requested.first AND requested.last
) AS n
ORDER BY n.user_id, n.night_date
