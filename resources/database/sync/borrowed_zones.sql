-- Sessions of these users that borrow a zone, with the zone of the latest earlier session that has its own, of the
-- earliest later one, and the user's registered one.
SELECT
    s.session_id,
    s.session_start_time,
    s.session_end_time,
    s.sleep_time,
    s.wake_time,
    s.local_zone,
    s.zone_source,
    earlier.local_zone AS earlier,
    later.local_zone AS later,
    u.timezone AS registered
FROM asleep.sleep_sessions AS s
LEFT JOIN asleep.users AS u ON u.user_id = s.user_id
LEFT JOIN LATERAL (
    SELECT lender.local_zone
    FROM asleep.sleep_sessions AS lender
    WHERE lender.user_id = s.user_id
        AND lender.deleted_at IS NULL
        AND lender.zone_source IN ('own', 'offset')
        AND lender.session_start_time <= s.session_start_time
        AND (lender.session_start_time, lender.session_id) < (s.session_start_time, s.session_id)
    ORDER BY lender.session_start_time DESC, lender.session_id DESC
    LIMIT 1
) AS earlier
    ON TRUE
LEFT JOIN LATERAL (
    SELECT lender.local_zone
    FROM asleep.sleep_sessions AS lender
    WHERE earlier.local_zone IS NULL
        AND lender.user_id = s.user_id
        AND lender.deleted_at IS NULL
        AND lender.zone_source IN ('own', 'offset')
        AND lender.session_start_time >= s.session_start_time
        AND (lender.session_start_time, lender.session_id) > (s.session_start_time, s.session_id)
    ORDER BY lender.session_start_time, lender.session_id
    LIMIT 1
) AS later
    ON TRUE
WHERE s.user_id = ANY(CAST(:user_ids AS text []))
    AND s.deleted_at IS NULL
    AND s.zone_source NOT IN ('own', 'offset')
