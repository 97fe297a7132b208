-- One row per month of the year up to :month: all users together, with the middle half of the users' efficiency.
SELECT
    overview.*,
    spread.lower_efficiency,
    spread.upper_efficiency
FROM asleep.monthly_overview AS overview
JOIN (
    SELECT
        month,
        percentile_cont(0.25) WITHIN GROUP (ORDER BY avg_efficiency_of_night) AS lower_efficiency,
        percentile_cont(0.75) WITHIN GROUP (ORDER BY avg_efficiency_of_night) AS upper_efficiency
    FROM asleep.monthly_averages
    WHERE month > CAST(:month AS date) - interval '1 year' AND month <= :month
    GROUP BY month
) AS spread ON spread.month = overview.month
WHERE overview.month > CAST(:month AS date) - interval '1 year' AND overview.month <= :month
ORDER BY overview.month
