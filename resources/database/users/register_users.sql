-- Users who are not registered yet; returns their ids.
INSERT INTO asleep.users (user_id, source)
SELECT user_id, :source
FROM unnest(CAST(:ids AS text[])) AS incoming (user_id)
ORDER BY user_id
ON CONFLICT (user_id) DO NOTHING
RETURNING user_id
