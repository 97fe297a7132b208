-- One row per month of :user_id in the year up to :month, with the mean sleep per date, naps included, and its change
-- to the calendar month before.
SELECT
    this.*,
    this.avg_time_in_sleep * this.slept_sessions / nullif(this.nights, 0) AS avg_time_in_sleep_of_date,
    this.avg_time_in_sleep * this.slept_sessions / nullif(this.nights, 0)
        - before.avg_time_in_sleep * before.slept_sessions / nullif(before.nights, 0)
        AS change_in_time_in_sleep_of_date
FROM asleep.user_months AS this
LEFT JOIN asleep.monthly_averages AS before
    ON before.user_id = this.user_id AND before.month = CAST(this.month - interval '1 month' AS date)
WHERE this.user_id = :user_id AND this.month > CAST(:month AS date) - interval '1 year' AND this.month <= :month
ORDER BY this.month
