-- One row per API key; the first process to use a key makes it.
INSERT INTO asleep.rate_limits (key_id, requests_per_second)
VALUES (:key_id, :requests_per_second)
ON CONFLICT (key_id) DO NOTHING
