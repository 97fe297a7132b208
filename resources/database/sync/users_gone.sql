-- Users that the API no longer knows: no longer synced; what is stored of them waits for its erasure. What failed for
-- them can never be mended and is no hole any more.
WITH gone AS (
    UPDATE asleep.users
    SET gone_at = coalesce(gone_at, now())
    WHERE user_id = ANY(CAST(:user_ids AS text []))
    RETURNING user_id
),
settled AS (
    UPDATE asleep.sync_failures
    SET resolved_at = now()
    WHERE user_id IN (SELECT user_id FROM gone)
        AND resolved_at IS NULL
)
DELETE FROM asleep.sync_ledger
WHERE user_id IN (SELECT user_id FROM gone)
