-- No user-month waits for its averages to be computed, and no period for its metrics.
SELECT 'user-month' AS kind, count(*) AS found, CAST(NULL AS timestamptz) AS since
FROM asleep.stale_months
HAVING count(*) > 0
UNION ALL
SELECT 'period of sleep_metrics' AS kind, count(*) AS found, CAST(NULL AS timestamptz) AS since
FROM asleep.stale_periods
HAVING count(*) > 0
