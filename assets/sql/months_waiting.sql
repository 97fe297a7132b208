-- One row per local month in which user-months wait for their averages.
SELECT DISTINCT month
FROM asleep.touched_months
ORDER BY month
