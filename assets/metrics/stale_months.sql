-- One row per local month in which user-months wait for their averages.
SELECT DISTINCT month
FROM asleep.stale_months
ORDER BY month
