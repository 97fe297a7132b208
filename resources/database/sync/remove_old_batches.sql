-- Notes of batches begun long ago; the run's own record holds the sums.
DELETE FROM asleep.sync_batches
WHERE started_at < :before
