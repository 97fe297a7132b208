-- One row per night of :user_id in :month, with its first session's hypnogram where one is stored.
SELECT
    nights.night_date,
    nights.session_start_local,
    nights.sleep_time_local,
    nights.wake_time_local,
    nights.time_in_sleep,
    nights.time_in_light,
    nights.time_in_deep,
    nights.time_in_rem,
    nights.time_in_wake,
    nights.sleep_efficiency,
    nights.naps,
    session.sleep_stages
FROM asleep.nights
JOIN asleep.sleep_sessions AS session ON session.session_id = nights.session_id
WHERE nights.user_id = :user_id
    AND nights.night_date >= :month
    AND nights.night_date < CAST(:month AS date) + interval '1 month'
ORDER BY nights.night_date
