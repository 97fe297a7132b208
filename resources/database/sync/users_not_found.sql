-- Users whom both the list and the user's own endpoint report as not found. The first time is a suspicion; at least 20
-- hours later it is accepted: the user is no longer synced, what is stored waits for its erasure, and failures are
-- closed, because they can never be resolved. One row: gone, suspected.
WITH reported AS (
    UPDATE asleep.users
    SET
        not_found_since = coalesce(not_found_since, now()),
        gone_at = CASE
            WHEN not_found_since <= now() - interval '20 hours' THEN coalesce(gone_at, now()) ELSE gone_at
        END
    WHERE user_id = ANY(CAST(:user_ids AS text []))
    RETURNING user_id, gone_at IS NOT NULL AS gone
),
settled AS (
    UPDATE asleep.sync_failures
    SET resolved_at = now()
    WHERE user_id IN (SELECT user_id FROM reported WHERE gone)
        AND resolved_at IS NULL
),
forgotten AS (
    DELETE FROM asleep.unconfirmed_lists
    WHERE user_id IN (SELECT user_id FROM reported)
),
expired AS (
    DELETE FROM asleep.sync_ledger
    WHERE user_id IN (SELECT user_id FROM reported)
)
SELECT
    count(*) FILTER (WHERE gone) AS gone,
    count(*) FILTER (WHERE NOT gone) AS suspected
FROM reported
