-- Dagster leaves the evaluations of a run's checks behind when it deletes the run.
DELETE FROM dagster.asset_check_executions
WHERE run_id = ANY(CAST(:run_ids AS text []))
