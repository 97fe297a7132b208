-- One row per number of days: a user's nights on that many last dates, with the sessions behind them.
SELECT
    span.days,
    CAST(:today AS date) - span.days + 1 AS first_date,
    count(n.night_date) FILTER (WHERE n.status = 'recorded') AS nights,
    coalesce(sum(n.naps), 0) AS naps,
    (
        SELECT count(*)
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = :user_id
            AND s.deleted_at IS NULL
            AND s.night_date > CAST(:today AS date) - span.days
    ) AS sessions,
    sum(n.time_in_sleep_of_date)::double precision / nullif(count(n.session_id), 0) AS avg_time_in_sleep_of_date,
    asleep.clock_mean(
        sum(sin(date_part('epoch', n.sleep_time_local::time) * pi() / 43200)),
        sum(cos(date_part('epoch', n.sleep_time_local::time) * pi() / 43200)),
        count(n.sleep_time_local)
    ) AS avg_onset_of_night,
    asleep.clock_mean(
        sum(sin(date_part('epoch', n.wake_time_local::time) * pi() / 43200)),
        sum(cos(date_part('epoch', n.wake_time_local::time) * pi() / 43200)),
        count(n.wake_time_local)
    ) AS avg_wake_of_night,
    sum(n.time_in_sleep) FILTER (WHERE n.time_in_bed IS NOT NULL)::double precision
        / nullif(sum(n.time_in_bed), 0) AS avg_efficiency_of_night,
    avg(n.sleep_latency)::double precision AS avg_latency_of_night,
    avg(n.time_in_wake)::double precision AS avg_waso_of_night
FROM (VALUES (7), (30)) AS span (days)
LEFT JOIN asleep.night_dates AS n
    ON n.user_id = :user_id
    AND n.night_date > CAST(:today AS date) - 30
    AND n.night_date > CAST(:today AS date) - span.days
GROUP BY span.days
ORDER BY span.days
