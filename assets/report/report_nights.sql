-- One row per night of :user_id in :month.
SELECT
    night_date,
    session_start_local,
    sleep_time_local,
    wake_time_local,
    time_in_sleep,
    time_in_light,
    time_in_deep,
    time_in_rem,
    time_in_wake,
    sleep_efficiency,
    naps
FROM asleep.nights
WHERE user_id = :user_id
    AND night_date >= :month
    AND night_date < CAST(:month AS date) + interval '1 month'
ORDER BY night_date
