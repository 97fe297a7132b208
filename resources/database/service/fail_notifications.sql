-- Notifications that were not delivered: tried again after a pause, or given up.
UPDATE asleep.notifications
SET error = :error,
    parked_at = CASE WHEN attempts >= :max_attempts THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp() + make_interval(
        secs => least(:first_pause_seconds * 3 ^ (attempts - 1), :max_pause_seconds)
    )
WHERE notification_id = :notification_id AND delivered_at IS NULL
RETURNING parked_at IS NOT NULL
