-- The stale periods of the next users, in order of their ids, with the users' own free days.
SELECT stale.user_id, stale.period, stale.period_start, stale.version, u.free_days
FROM asleep.stale_periods AS stale
LEFT JOIN asleep.users AS u ON u.user_id = stale.user_id
WHERE stale.user_id IN (
    SELECT DISTINCT user_id
    FROM asleep.stale_periods
    WHERE user_id > :after
    ORDER BY user_id
    LIMIT :users
)
ORDER BY stale.user_id, stale.period, stale.period_start
