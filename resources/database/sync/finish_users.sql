-- Users whose whole window landed: remembered in the ledger. One row in, one row out.
WITH finished AS (
    SELECT user_id, window_start, window_end, listed_at
    FROM unnest(
        CAST(:user_id AS text []), CAST(:window_start AS timestamptz []),
        CAST(:window_end AS timestamptz []), CAST(:listed_at AS timestamptz [])
    ) AS done (user_id, window_start, window_end, listed_at)
),
seen AS (
    UPDATE asleep.users AS u
    SET
        last_synced_at = now(),
        gone_at = NULL
    FROM finished
    WHERE u.user_id = finished.user_id
    RETURNING u.user_id
)
INSERT INTO asleep.sync_ledger AS stored (user_id, window_start, window_end, listed_at, detail, covered)
SELECT
    user_id, window_start, window_end, listed_at, :detail,
    tstzmultirange(tstzrange(window_start, greatest(window_start, least(window_end, listed_at))))
FROM finished
ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE
    SET
        window_start = excluded.window_start,
        window_end = excluded.window_end,
        listed_at = excluded.listed_at,
        detail = excluded.detail,
        covered = stored.covered + excluded.covered
