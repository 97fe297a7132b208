-- Notifications that were not delivered, those given up first.
SELECT notification_id, user_id, became_final_at, attempts, parked_at, error
FROM asleep.notifications
WHERE delivered_at IS NULL
ORDER BY parked_at IS NULL, notification_id
LIMIT :limit
