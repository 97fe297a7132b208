-- Events given up that name a user: their users are missing data until a sync reads them.
INSERT INTO asleep.sync_failures AS stored (user_id, session_id, kind, message, attempts)
SELECT DISTINCT ON (place.user_id, session_id) place.user_id, session_id, 'webhook_event', message, attempts
FROM unnest(CAST(:users AS text[]), CAST(:sessions AS text[]), CAST(:messages AS text[]), CAST(:attempts AS int[]))
    AS parked (user_id, session_id, message, attempts)
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN EXISTS (SELECT FROM asleep.users AS u WHERE u.user_id = parked.user_id) THEN parked.user_id ELSE ''
    END AS user_id
) AS place
ORDER BY place.user_id, session_id
ON CONFLICT (user_id, coalesce(session_id, '')) WHERE resolved_at IS NULL DO UPDATE
SET kind = excluded.kind, message = excluded.message, attempts = stored.attempts + 1,
    last_failed_at = excluded.last_failed_at
