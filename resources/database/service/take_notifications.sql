-- Notifications due, taken for one attempt.
WITH due AS (
    SELECT notification_id
    FROM asleep.notifications
    WHERE delivered_at IS NULL AND parked_at IS NULL AND next_attempt_at <= clock_timestamp()
    ORDER BY next_attempt_at, notification_id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE asleep.notifications AS outgoing
SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM due
WHERE outgoing.notification_id = due.notification_id
RETURNING outgoing.notification_id, outgoing.session_id, outgoing.user_id, outgoing.became_final_at, outgoing.attempts
