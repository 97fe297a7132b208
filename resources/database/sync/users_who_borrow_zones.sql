-- Those of the users who have a session without a zone of its own, with their registered zone.
SELECT
    asked.user_id,
    u.timezone
FROM unnest(CAST(:user_ids AS text [])) AS asked (user_id)
LEFT JOIN asleep.users AS u
    ON u.user_id = asked.user_id
WHERE EXISTS (
    SELECT FROM asleep.sleep_sessions AS s
    WHERE s.user_id = asked.user_id
        AND s.deleted_at IS NULL
        AND s.zone_source NOT IN ('own', 'offset')
)
