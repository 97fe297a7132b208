-- User-months that were running when their averages were computed, on an earlier day: more of their dates are over now.
INSERT INTO asleep.stale_months (user_id, month)
SELECT user_id, month
FROM asleep.monthly_averages
WHERE NOT is_complete AND as_of < (now() AT TIME ZONE 'UTC')::date
ORDER BY user_id, month
ON CONFLICT (user_id, month) DO NOTHING
