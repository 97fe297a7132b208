-- One row per number of days: a user's nights on that many last dates, with the sessions behind them. Means run over
-- valid nights, as those of a month. The last date is today (UTC), or tomorrow where the user has a night of it.
SELECT
    span.days,
    span.last_date - span.days + 1 AS first_date,
    count(*) FILTER (WHERE n.status = 'recorded') AS nights,
    count(*) FILTER (WHERE n.is_valid_night) AS valid_nights,
    coalesce(sum(n.naps), 0) AS naps,
    (
        SELECT count(*)
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = :user_id
            AND s.deleted_at IS NULL
            AND s.night_date > span.last_date - span.days
            AND s.night_date <= span.last_date
    ) AS sessions,
    (avg(n.time_in_sleep_of_date) FILTER (WHERE n.is_valid_night))::double precision AS avg_time_in_sleep_of_date,
    asleep.clock_mean(
        sum(sin(asleep.clock_angle(n.sleep_time_local))) FILTER (WHERE n.is_valid_night),
        sum(cos(asleep.clock_angle(n.sleep_time_local))) FILTER (WHERE n.is_valid_night),
        count(*) FILTER (WHERE n.is_valid_night)
    ) AS avg_onset_of_night,
    asleep.clock_mean(
        sum(sin(asleep.clock_angle(n.wake_time_local))) FILTER (WHERE n.is_valid_night),
        sum(cos(asleep.clock_angle(n.wake_time_local))) FILTER (WHERE n.is_valid_night),
        count(*) FILTER (WHERE n.is_valid_night)
    ) AS avg_wake_of_night,
    (sum(n.time_in_sleep) FILTER (WHERE n.is_valid_night))::double precision
        / sum(n.time_in_bed) FILTER (WHERE n.is_valid_night) AS avg_efficiency_of_night,
    (avg(n.sleep_latency) FILTER (WHERE n.is_valid_night))::double precision AS avg_latency_of_night,
    (avg(n.time_in_wake) FILTER (WHERE n.is_valid_night))::double precision AS avg_waso_of_night
FROM (
    SELECT number.days, CAST(:today AS date) + count(tomorrow.night_date)::integer AS last_date
    FROM (VALUES (7), (30)) AS number (days)
    LEFT JOIN asleep.night_dates AS tomorrow
        ON tomorrow.user_id = :user_id
        AND tomorrow.night_date = CAST(:today AS date) + 1
        AND tomorrow.status = 'recorded'
    GROUP BY number.days
) AS span
LEFT JOIN asleep.night_dates AS n
    ON n.user_id = :user_id
    AND n.night_date > CAST(:today AS date) - 30
    AND n.night_date > span.last_date - span.days
    AND n.night_date <= span.last_date
GROUP BY span.days, span.last_date
ORDER BY span.days
