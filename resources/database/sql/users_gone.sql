-- Users that the API no longer knows: no longer synced; what is stored of them waits for its erasure.
WITH gone AS (
    UPDATE asleep.users
    SET gone_at = coalesce(gone_at, now())
    WHERE user_id = ANY(CAST(:user_ids AS text []))
    RETURNING user_id
)
DELETE FROM asleep.sync_ledger
WHERE user_id IN (SELECT user_id FROM gone)
