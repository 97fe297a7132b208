-- Batches that began and did not end, of runs that no later run has made good: a run that ended all its batches, began
-- later and included every active user.
WITH later AS (
    SELECT
        run_id,
        min(started_at) AS began_at,
        sum((counts ->> 'users')::bigint) AS users
    FROM asleep.sync_batches
    GROUP BY run_id
    HAVING bool_and(finished_at IS NOT NULL) AND count(*) = max(batches)
)
SELECT
    run_id,
    batch,
    batches,
    started_at
FROM asleep.sync_batches AS stopped
WHERE finished_at IS NULL
    AND NOT EXISTS (
        SELECT
        FROM later
        WHERE later.began_at >= stopped.started_at
            AND later.users >= (SELECT count(*) FROM asleep.users WHERE is_synced)
    )
ORDER BY started_at, batch
