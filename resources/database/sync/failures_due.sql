-- One row: how many failures are due to be tried again. What time can fix is tried every hour for a day and then once
-- a day; what the API refuses as wrong, and what no event could be traced to, waits for a change or a person: once a
-- day.
SELECT count(*) AS due
FROM asleep.missing_data
WHERE user_id <> ''
    AND failure_id IS NOT NULL
    AND kind <> 'disagrees'
    AND last_failed_at < now() - CASE
        WHEN kind IN ('unavailable', 'malformed', 'webhook_event', 'session_gone') AND attempts < 24
            THEN interval '30 minutes'
        ELSE interval '23 hours'
    END
