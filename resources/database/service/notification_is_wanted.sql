-- One row: whether the session of a notification still exists.
SELECT EXISTS (
    SELECT
    FROM asleep.notifications AS n
    INNER JOIN asleep.sleep_sessions AS s USING (session_id)
    WHERE n.notification_id = :notification_id AND s.deleted_at IS NULL
)
