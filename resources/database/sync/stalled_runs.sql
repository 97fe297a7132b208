-- Dagster's runs under way whose newest event is older than that, with its moment. A run in the queue counts only when
-- no run is under way for which it could wait. `is_held_run`: its process holds a lock as long as it lives.
SELECT
    r.run_id,
    r.pipeline_name AS job,
    r.status,
    newest.timestamp AT TIME ZONE 'UTC' AS moved_at,
    EXISTS (SELECT FROM dagster.run_tags AS tag WHERE tag.run_id = r.run_id AND tag.key = :held_tag) AS is_held_run
FROM dagster.runs AS r
INNER JOIN LATERAL (
    SELECT timestamp
    FROM dagster.event_logs
    WHERE run_id = r.run_id
    ORDER BY id DESC
    LIMIT 1
) AS newest ON TRUE
WHERE r.status IN ('NOT_STARTED', 'QUEUED', 'STARTING', 'STARTED', 'CANCELING')
    AND newest.timestamp < (now() AT TIME ZONE 'UTC') - make_interval(secs => :seconds)
    AND NOT (
        r.status = 'QUEUED'
        AND EXISTS (SELECT FROM dagster.runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING'))
    )
ORDER BY newest.timestamp
