-- One row in, one row out: some user-months, chosen anew each time, queued as if their sessions had changed.
INSERT INTO asleep.stale_months (user_id, month)
SELECT user_id, month
FROM asleep.monthly_averages
ORDER BY random()
LIMIT :most
