-- One row per UTC day of the window on which sessions started: how many are stored. The local dates only let the
-- index find them.
SELECT CAST(session_start_time AT TIME ZONE 'UTC' AS date) AS day, count(*) AS sessions
FROM asleep.sleep_sessions
WHERE session_start_time >= :window_start
    AND session_start_time < :window_end
    AND local_date BETWEEN CAST(:window_start AT TIME ZONE 'UTC' AS date) - 1
        AND CAST(:window_end AT TIME ZONE 'UTC' AS date) + 1
    AND deleted_at IS NULL
GROUP BY 1
