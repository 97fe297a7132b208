-- Periods that were running when their metrics were computed, on an earlier day: more of their dates lie behind now.
INSERT INTO asleep.stale_periods (user_id, period, period_start)
SELECT user_id, period, period_start
FROM asleep.sleep_metrics
WHERE NOT is_complete AND as_of < :today
ORDER BY user_id, period, period_start
ON CONFLICT (user_id, period, period_start) DO NOTHING
