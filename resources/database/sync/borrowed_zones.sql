-- The zones that sessions without one of their own are stored with.
SELECT
    session_id,
    local_zone,
    zone_source
FROM asleep.sleep_sessions
WHERE session_id = ANY(CAST(:session_ids AS text []))
    AND zone_source NOT IN ('own', 'offset')
