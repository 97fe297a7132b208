-- One row per month in which averages wait: sessions changed, or the month was running on an earlier day.
SELECT month
FROM asleep.stale_months
UNION
SELECT month
FROM asleep.monthly_averages
WHERE NOT is_complete AND as_of < (now() AT TIME ZONE 'UTC')::date
ORDER BY month
