-- Sessions found deleted at the source: kept, marked, and their months queued. A newer answer is not overruled,
-- nor is another owner: a session that moved from one user to another is missing with the first and lives on.
WITH found AS (
    SELECT user_id, session_id, asked_at
    FROM unnest(CAST(:user_ids AS text []), CAST(:session_ids AS text []), CAST(:asked_at AS timestamptz []))
        AS gone (user_id, session_id, asked_at)
),
marked AS (
    UPDATE asleep.sleep_sessions AS s
    SET deleted_at = now(), updated_at = now(), fetched_at = found.asked_at
    FROM found
    WHERE s.session_id = found.session_id
        AND s.user_id = found.user_id
        AND s.deleted_at IS NULL
        AND s.fetched_at <= found.asked_at
    RETURNING s.user_id, s.local_month
),
touched AS (
    INSERT INTO asleep.stale_months AS stored (user_id, month)
    SELECT DISTINCT user_id, local_month
    FROM marked
    ORDER BY user_id, local_month
    ON CONFLICT (user_id, month) DO UPDATE
        SET version = stored.version + 1
    RETURNING stored.user_id
)
SELECT count(*)
FROM marked
