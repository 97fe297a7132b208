-- One row per month of :user_id in the year up to :month.
SELECT *
FROM asleep.user_months
WHERE user_id = :user_id AND month > CAST(:month AS date) - interval '1 year' AND month <= :month
ORDER BY month
