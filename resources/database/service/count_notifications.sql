-- One row: notifications that wait, and those given up.
SELECT
    count(*) AS waiting,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(became_final_at)), 0)::double precision AS oldest_seconds,
    (SELECT count(*) FROM asleep.notifications WHERE parked_at IS NOT NULL) AS parked
FROM asleep.notifications
WHERE delivered_at IS NULL AND parked_at IS NULL
