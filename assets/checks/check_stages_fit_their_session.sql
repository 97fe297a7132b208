-- No session stored or changed in the last 35 days has more stages than 30-second slots.
SELECT 'session' AS kind, count(*) AS found, min(session_start_time) AS since
FROM asleep.sleep_sessions
WHERE updated_at > now() - interval '35 days'
    AND deleted_at IS NULL
    AND cardinality(sleep_stages) > extract(EPOCH FROM session_end_time - session_start_time) / 30 + 1
HAVING count(*) > 0
