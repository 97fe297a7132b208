-- Sessions of these users that borrow another zone than they should, with the right one: of the latest earlier
-- session that has its own, else of the earliest later one, else the fallback given for the user.
SELECT
    s.session_id,
    s.session_start_time,
    s.session_end_time,
    s.sleep_time,
    s.wake_time,
    rightly.zone,
    rightly.source
FROM unnest(CAST(:user_ids AS text []), CAST(:zones AS text []), CAST(:sources AS text []))
    AS asked (user_id, zone, source)
INNER JOIN asleep.sleep_sessions AS s
    ON s.user_id = asked.user_id
    AND s.deleted_at IS NULL
    AND s.zone_source NOT IN ('own', 'offset')
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
CROSS JOIN LATERAL (
    SELECT
        coalesce(earlier.local_zone, later.local_zone, asked.zone) AS zone,
        CASE
            WHEN earlier.local_zone IS NOT NULL THEN 'earlier'
            WHEN later.local_zone IS NOT NULL THEN 'later'
            ELSE asked.source
        END AS source
) AS rightly
WHERE (s.local_zone, s.zone_source) IS DISTINCT FROM (rightly.zone, rightly.source)
