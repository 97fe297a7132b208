-- One row per user or session that should be in the tables and is not: failures not mended yet, but for users whom
-- somebody has set inactive. Set active again, their failures are here again, and the next run tries them.
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
    AND NOT EXISTS (SELECT FROM asleep.users AS u WHERE u.user_id = failure.user_id AND NOT u.active);

COMMENT ON VIEW asleep.missing_data IS
    'One row per user or session that could not be synced and is waiting to be tried again. Not for analysts.';
COMMENT ON COLUMN asleep.missing_data.failure_id IS 'Number of the failure';
COMMENT ON COLUMN asleep.missing_data.user_id IS 'Who could not be synced; empty: a webhook event that names nobody';
COMMENT ON COLUMN asleep.missing_data.session_id IS 'The session that could not be read; null: the user''s list';
COMMENT ON COLUMN asleep.missing_data.kind IS 'unavailable, malformed, identifier_refused, request_refused, …';
COMMENT ON COLUMN asleep.missing_data.message IS 'What happened';
COMMENT ON COLUMN asleep.missing_data.window_start IS 'Start of the window that was being synced';
COMMENT ON COLUMN asleep.missing_data.window_end IS 'End of that window, exclusive';
COMMENT ON COLUMN asleep.missing_data.attempts IS 'Runs in which it failed';
COMMENT ON COLUMN asleep.missing_data.first_failed_at IS 'First time';
COMMENT ON COLUMN asleep.missing_data.last_failed_at IS 'Last time';
