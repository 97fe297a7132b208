-- The stale periods of the next users, in order of their ids.
SELECT user_id, period, period_start, version
FROM asleep.stale_periods
WHERE user_id IN (
    SELECT DISTINCT user_id
    FROM asleep.stale_periods
    WHERE user_id > :after
    ORDER BY user_id
    LIMIT :users
)
ORDER BY user_id, period, period_start
