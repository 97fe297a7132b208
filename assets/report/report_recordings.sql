-- One row per session of a main sleep or nap of :user_id in :month, with its stages.
SELECT
    night_date,
    night_role,
    session_start_local,
    sleep_stages
FROM asleep.sleep_sessions
WHERE user_id = :user_id
    AND night_date >= :month
    AND night_date < CAST(:month AS date) + interval '1 month'
    AND episode_id IS NOT NULL
ORDER BY session_start_time
