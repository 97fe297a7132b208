-- Dagster's events without a run, but the newest of each asset and partition, with what refers to them. Counts them.
WITH newest AS (
    SELECT max(id) AS id
    FROM dagster.event_logs
    WHERE run_id = ''
    GROUP BY dagster_event_type, asset_key, partition
),
removed AS (
    DELETE FROM dagster.event_logs
    WHERE run_id = ''
        AND timestamp < CAST(:before AS timestamptz) AT TIME ZONE 'UTC'
        AND id NOT IN (SELECT id FROM newest)
    RETURNING id
),
tags AS (
    DELETE FROM dagster.asset_event_tags
    WHERE event_id IN (SELECT id FROM removed)
),
checks AS (
    DELETE FROM dagster.asset_check_executions
    WHERE run_id = ''
        AND evaluation_event_storage_id IN (SELECT id FROM removed)
)
SELECT count(*) AS removed FROM removed
