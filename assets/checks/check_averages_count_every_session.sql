-- The averages of each user and month count exactly the sessions that are stored. Looks at months computed in the
-- last day; user-months that wait to be computed are left out.
WITH recent AS (
    SELECT DISTINCT month
    FROM asleep.monthly_averages
    WHERE computed_at > now() - interval '1 day'
),
stored AS (
    SELECT user_id, night_month AS month, count(*) AS sessions
    FROM asleep.sleep_sessions
    WHERE deleted_at IS NULL
        AND night_month IN (SELECT month FROM recent)
    GROUP BY user_id, night_month
),
averaged AS (
    SELECT user_id, month, sessions
    FROM asleep.monthly_averages
    WHERE month IN (SELECT month FROM recent)
),
differing AS (
    SELECT user_id, month
    FROM stored
    FULL JOIN averaged USING (user_id, month)
    WHERE stored.sessions IS DISTINCT FROM averaged.sessions
)
SELECT to_char(differing.month, 'YYYY-MM') AS kind, count(*) AS found, CAST(NULL AS timestamptz) AS since
FROM differing
LEFT JOIN asleep.stale_months AS waiting USING (user_id, month)
WHERE waiting.version IS NULL
GROUP BY differing.month
ORDER BY differing.month
