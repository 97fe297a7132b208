-- One row: how many users have averages of the month.
SELECT count(*) AS user_months
FROM asleep.monthly_averages
WHERE month = :month
