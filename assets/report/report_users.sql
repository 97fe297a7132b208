-- One row per user with nights in :month, with the change to the calendar month before.
SELECT
    user_id,
    nights,
    avg_time_in_sleep_of_date,
    avg_efficiency_of_night,
    avg_onset_of_night,
    nights_before,
    change_in_time_in_sleep_of_date,
    change_in_onset_of_night_minutes
FROM asleep.user_months
WHERE month = :month AND nights > 0
ORDER BY user_id
