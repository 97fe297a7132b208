-- One row per user with sleep in :month.
SELECT
    user_id,
    nights,
    slept_sessions,
    avg_time_in_sleep,
    avg_sleep_efficiency,
    avg_sleep_time,
    nights_before,
    change_in_time_in_sleep,
    change_in_sleep_time_minutes
FROM asleep.user_months
WHERE month = :month AND slept_sessions > 0
ORDER BY user_id
