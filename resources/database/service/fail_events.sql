-- Events that could not be handled: tried again after a pause, or given up. Users of those given up are missing data
-- until a sync reads them; an event whose user is not registered counts for the empty user id, for no sync could read
-- that user.
WITH failed AS (
    SELECT event_id, message, is_hopeless, user_id, session_id
    FROM unnest(
        CAST(:event_id AS bigint[]), CAST(:message AS text[]), CAST(:is_hopeless AS boolean[]),
        CAST(:user_id AS text[]), CAST(:session_id AS text[])
    ) AS f (event_id, message, is_hopeless, user_id, session_id)
),
marked AS (
    UPDATE asleep.webhook_events AS event
    SET error = failed.message,
        processed_at = CASE WHEN attempts >= :max_attempts OR failed.is_hopeless THEN clock_timestamp() END,
        next_attempt_at
        = clock_timestamp() + make_interval(secs => :first_pause_seconds * 4 ^ (greatest(attempts, 1) - 1))
    FROM failed
    WHERE event.event_id = failed.event_id AND event.processed_at IS NULL
    RETURNING event.event_id, event.attempts, event.processed_at IS NOT NULL AS is_parked
),
recorded AS (
    INSERT INTO asleep.sync_failures AS stored (user_id, session_id, kind, message, attempts)
    SELECT DISTINCT ON (coalesce(u.user_id, ''), failed.session_id)
        coalesce(u.user_id, '') AS user_id,
        failed.session_id,
        'webhook_event' AS kind,
        format('event %s: %s', failed.event_id, failed.message) AS message,
        marked.attempts
    FROM marked
    INNER JOIN failed USING (event_id)
    LEFT JOIN asleep.users AS u ON u.user_id = failed.user_id
    WHERE marked.is_parked
    ORDER BY coalesce(u.user_id, ''), failed.session_id, failed.event_id DESC
    ON CONFLICT (user_id, coalesce(session_id, '')) WHERE resolved_at IS NULL DO UPDATE
    SET kind = excluded.kind, message = excluded.message, attempts = stored.attempts + 1,
        last_failed_at = excluded.last_failed_at
)
SELECT event_id
FROM marked
WHERE is_parked
