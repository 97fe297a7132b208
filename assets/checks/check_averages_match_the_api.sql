-- The API's own statistics and averages agree with what is stored, after reading again what differed.
SELECT kind, count(*) AS found, min(first_failed_at) AS since
FROM asleep.missing_data
WHERE kind = 'disagrees'
GROUP BY kind
