-- One row per month in which metrics wait: sessions changed, or the period was running on an earlier day.
SELECT date_trunc('month', period_start)::date AS month
FROM asleep.stale_periods
UNION
SELECT date_trunc('month', period_start)::date
FROM asleep.sleep_metrics
WHERE NOT is_complete AND as_of < (now() AT TIME ZONE 'UTC')::date
ORDER BY month
