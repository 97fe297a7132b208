-- Raw results of sessions that were read in the last days, newest first.
SELECT
    s.user_id,
    p.result
FROM asleep.sleep_sessions AS s
INNER JOIN asleep.session_payloads AS p ON s.session_id = p.session_id
WHERE s.updated_at >= now() - make_interval(days => :days)
    AND p.fetched_at >= now() - make_interval(days => :days)
    AND s.deleted_at IS NULL
ORDER BY s.updated_at DESC
LIMIT :rows
