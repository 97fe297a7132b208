-- One row per user or session that should be in the tables and is not: failures that were not resolved, but for users
-- who were set inactive (set active again, their failures count again); and users whom the API reports as not found,
-- once they are more than max(3, 0.5 % of the active users) or one is unresolved for 3 days.
CREATE OR REPLACE VIEW asleep.missing_data AS
SELECT
    failure_id,
    user_id,
    session_id,
    kind,
    message,
    window_start,
    window_end,
    attempts,
    first_failed_at,
    last_failed_at
FROM asleep.sync_failures AS failure
WHERE resolved_at IS NULL
    AND NOT EXISTS (SELECT FROM asleep.users AS u WHERE u.user_id = failure.user_id AND NOT u.active)
UNION ALL
SELECT
    NULL AS failure_id,
    user_id,
    NULL AS session_id,
    'user_not_found' AS kind,
    'The API reports the user as not found. A sync at least 20 hours after the first report confirms it.' AS message,
    NULL AS window_start,
    NULL AS window_end,
    1 AS attempts,
    not_found_since AS first_failed_at,
    not_found_since AS last_failed_at
FROM (
    SELECT
        user_id,
        not_found_since,
        count(not_found_since) OVER () AS not_found,
        count(*) OVER () AS active
    FROM asleep.users
    WHERE is_synced
) AS synced
WHERE not_found_since IS NOT NULL
    AND (not_found > greatest(3, 0.005 * active) OR not_found_since < now() - interval '3 days');

COMMENT ON VIEW asleep.missing_data IS
    'One row per user or session that could not be synced and is waiting to be tried again. Not for analysts.';
SELECT pg_temp.keep_comments('asleep.missing_data', 'asleep.sync_failures');
COMMENT ON COLUMN asleep.missing_data.failure_id IS 'Number of the failure; null: a user whom the API does not find';
COMMENT ON COLUMN asleep.missing_data.user_id IS 'Who could not be synced; empty: a webhook event that names no user';
COMMENT ON COLUMN asleep.missing_data.kind IS
    'unavailable, malformed, identifier_refused, request_refused, deletion_held, user_not_found, …';
