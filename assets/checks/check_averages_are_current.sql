-- One row when user-months wait for their averages.
SELECT 'user-month' AS kind, count(*) AS found, CAST(NULL AS timestamptz) AS since
FROM asleep.stale_months
HAVING count(*) > 0
