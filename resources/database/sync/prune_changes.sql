-- Removes old changes, and leaves one row of kind `removed` in the place of the newest of them, by which
-- changes_since() recognises a position that is too old. One row: how many were removed.
WITH pruned AS (
    DELETE FROM asleep.changes
    WHERE changed_at < :before
    RETURNING transaction_id, change_id
),
marker AS (
    INSERT INTO asleep.changes (transaction_id, change_id, kind)
    OVERRIDING SYSTEM VALUE
    SELECT transaction_id, change_id, 'removed'
    FROM pruned
    ORDER BY transaction_id DESC, change_id DESC
    LIMIT 1
)
SELECT count(*)
FROM pruned
