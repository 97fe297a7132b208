-- No sleep of the last 35 days is outside the nights: sessions longer than 24 hours (doubtful), and those that
-- share more than 15 minutes with a longer one (overlapping).
SELECT night_role AS kind, count(*) AS found, min(session_start_time) AS since
FROM asleep.sleep_sessions
WHERE night_role IN ('doubtful', 'overlapping')
    AND night_date > current_date - 35
GROUP BY night_role
ORDER BY night_role
