-- Users with free days of their own.
SELECT user_id, free_days
FROM asleep.users
WHERE user_id = ANY (CAST(:user_ids AS text [])) AND free_days IS NOT NULL
