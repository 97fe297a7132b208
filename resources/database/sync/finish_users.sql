-- Users whose whole window was synced: remembered in the ledger. One row in, one row out. Where that covers dates that
-- no sync covered before, the months and weeks that count them are recomputed.
WITH finished AS (
    SELECT
        user_id,
        window_start,
        window_end,
        listed_at,
        tstzmultirange(tstzrange(window_start, greatest(window_start, least(window_end, listed_at)))) AS covered
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
),
grown AS (
    SELECT finished.user_id, finished.covered - coalesce(stored.covered, '{}') AS added
    FROM finished
    LEFT JOIN asleep.sync_ledger AS stored ON stored.user_id = finished.user_id
),
stale_averages AS (
    INSERT INTO asleep.stale_months AS waiting (user_id, month)
    SELECT grown.user_id, averages.month
    FROM grown
    JOIN asleep.monthly_averages AS averages ON averages.user_id = grown.user_id AND averages.not_synced_nights > 0
    WHERE grown.added && tstzrange(
        (averages.month - 1)::timestamp AT TIME ZONE 'UTC', averages.as_of::timestamp AT TIME ZONE 'UTC'
    )
    ORDER BY 1, 2
    ON CONFLICT (user_id, month) DO UPDATE SET version = waiting.version + 1
    RETURNING waiting.user_id
),
stale_metrics AS (
    INSERT INTO asleep.stale_periods AS waiting (user_id, period, period_start)
    SELECT grown.user_id, metrics.period, metrics.period_start
    FROM grown
    JOIN asleep.sleep_metrics AS metrics ON metrics.user_id = grown.user_id AND metrics.not_synced_nights > 0
    WHERE grown.added && tstzrange(
        (metrics.period_start - 1)::timestamp AT TIME ZONE 'UTC', metrics.as_of::timestamp AT TIME ZONE 'UTC'
    )
    ORDER BY 1, 2, 3
    ON CONFLICT (user_id, period, period_start) DO UPDATE SET version = excluded.version
    RETURNING waiting.user_id
)
INSERT INTO asleep.sync_ledger AS stored (user_id, window_start, window_end, listed_at, detail, covered)
SELECT user_id, window_start, window_end, listed_at, :detail, covered
FROM finished
ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE
    SET
        window_start = excluded.window_start,
        window_end = excluded.window_end,
        listed_at = excluded.listed_at,
        detail = excluded.detail,
        covered = stored.covered + excluded.covered
