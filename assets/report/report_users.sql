-- One row per user with sleep in :month, with the mean sleep per date, naps included, and its change to the calendar
-- month before.
SELECT
    this.user_id,
    this.nights,
    this.avg_time_in_sleep * this.slept_sessions / this.nights AS avg_time_in_sleep_of_date,
    this.avg_sleep_efficiency,
    this.avg_sleep_time,
    this.nights_before,
    this.avg_time_in_sleep * this.slept_sessions / this.nights
        - before.avg_time_in_sleep * before.slept_sessions / nullif(before.nights, 0)
        AS change_in_time_in_sleep_of_date,
    this.change_in_sleep_time_minutes
FROM asleep.user_months AS this
LEFT JOIN asleep.monthly_averages AS before
    ON before.user_id = this.user_id AND before.month = CAST(CAST(:month AS date) - interval '1 month' AS date)
WHERE this.month = :month AND this.slept_sessions > 0
ORDER BY this.user_id
