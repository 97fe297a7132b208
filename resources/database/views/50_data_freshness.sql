-- One row: how far the tables reach and what is still open. Only counts and times, so it may look at what analysts
-- may not read.
CREATE OR REPLACE VIEW asleep.data_freshness AS
SELECT
    now() AS asked_at,
    registry.users,
    registry.active_users,
    registry.never_synced_users,
    registry.oldest_sync_at,
    registry.newest_sync_at,
    (SELECT max(local_date) FROM asleep.sleep_sessions) AS newest_local_date,
    (SELECT max(created_at) FROM asleep.sleep_sessions) AS newest_session_written_at,
    (SELECT max(updated_at) FROM asleep.sleep_sessions) AS newest_change_at,
    (
        SELECT count(*)
        FROM asleep.sleep_sessions
        WHERE deleted_at IS NULL AND NOT is_final
    ) AS sessions_not_final,
    (SELECT max(month) FROM asleep.monthly_averages) AS newest_month,
    (SELECT count(*) FROM asleep.stale_months) AS user_months_waiting,
    (SELECT count(*) FROM asleep.missing_data) AS missing_data
FROM (
    SELECT
        count(*) AS users,
        count(*) FILTER (WHERE is_synced) AS active_users,
        count(*) FILTER (WHERE is_synced AND last_synced_at IS NULL) AS never_synced_users,
        min(last_synced_at) FILTER (WHERE is_synced) AS oldest_sync_at,
        max(last_synced_at) FILTER (WHERE is_synced) AS newest_sync_at
    FROM asleep.users
) AS registry;

COMMENT ON VIEW asleep.data_freshness IS
    'One row: how fresh and how complete the tables are. Look here before trusting a figure of yesterday.';
COMMENT ON COLUMN asleep.data_freshness.asked_at IS 'Now';
COMMENT ON COLUMN asleep.data_freshness.users IS 'Registered users';
COMMENT ON COLUMN asleep.data_freshness.active_users IS
    'Of these, users that are synced: active, and not gone at the source';
COMMENT ON COLUMN asleep.data_freshness.never_synced_users IS 'Active users who were never synced';
COMMENT ON COLUMN asleep.data_freshness.oldest_sync_at IS
    'When the active user who waits longest was last synced; users never synced are counted apart';
COMMENT ON COLUMN asleep.data_freshness.newest_sync_at IS 'When any active user was last synced';
COMMENT ON COLUMN asleep.data_freshness.newest_local_date IS 'Latest local date on which a stored session started';
COMMENT ON COLUMN asleep.data_freshness.newest_session_written_at IS
    'When a session was last written for the first time';
COMMENT ON COLUMN asleep.data_freshness.newest_change_at IS 'When a session was last written or changed';
COMMENT ON COLUMN asleep.data_freshness.sessions_not_final IS
    'Sessions that will be read again: running, being analysed, or known by statistics only';
COMMENT ON COLUMN asleep.data_freshness.newest_month IS 'Latest month with averages';
COMMENT ON COLUMN asleep.data_freshness.user_months_waiting IS
    'User-months whose sessions changed and whose averages are not computed again yet';
COMMENT ON COLUMN asleep.data_freshness.missing_data IS
    'Users and sessions that could not be synced and are waiting to be tried again';
