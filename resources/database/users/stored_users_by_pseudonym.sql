-- Users of whom something is stored and who have one of the pseudonyms.
WITH wanted AS (
    SELECT DISTINCT name FROM unnest(CAST(:names AS text[])) AS wanted (name)
),

stored AS (
    SELECT user_id FROM asleep.users
    UNION
    SELECT user_id FROM asleep.sleep_sessions
    UNION
    SELECT user_id FROM asleep.monthly_averages
)

SELECT stored.user_id, wanted.name
FROM stored
INNER JOIN wanted ON wanted.name = asleep.pseudonym(stored.user_id)
ORDER BY stored.user_id
