-- One row per column of a table or view, in its order.
SELECT
    attname AS name,
    format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = CAST(:relation AS regclass)
    AND attnum > 0
    AND NOT attisdropped
ORDER BY attnum
