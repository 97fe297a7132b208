-- One row per kind of slept session of the last 35 days that is in no night.
SELECT night_role AS kind, count(*) AS found, min(session_start_time) AS since
FROM asleep.sleep_sessions
WHERE night_role IN ('doubtful', 'overlapping')
    AND night_date > current_date - 35
GROUP BY night_role
ORDER BY night_role
