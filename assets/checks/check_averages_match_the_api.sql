-- One row when statistics or averages of the API contradict what is stored, even after reading again.
SELECT kind, count(*) AS found, min(first_failed_at) AS since
FROM asleep.missing_data
WHERE kind = 'disagrees'
GROUP BY kind
