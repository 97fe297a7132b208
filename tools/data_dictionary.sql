-- One row per column that asleep_analyst may read, tables before views, in the columns' order.
SELECT
    relation.relname AS relation,
    relation.relkind = 'v' AS is_view,
    coalesce(obj_description(relation.oid, 'pg_class'), '') AS relation_comment,
    ARRAY(
        SELECT
            substring(pg_get_indexdef(pg_index.indexrelid) FROM 'USING \w+ (.*)')
        FROM pg_index
        WHERE pg_index.indrelid = relation.oid
        ORDER BY NOT pg_index.indisprimary, 1
    ) AS indexes,
    attribute.attname AS column_name,
    format_type(attribute.atttypid, attribute.atttypmod) AS kind,
    EXISTS (
        SELECT
        FROM pg_index
        WHERE pg_index.indrelid = relation.oid AND pg_index.indisprimary AND attribute.attnum = ANY (pg_index.indkey)
    ) AS is_key,
    attribute.attnotnull AS is_required,
    coalesce(col_description(relation.oid, attribute.attnum), '') AS column_comment
FROM pg_class AS relation
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE relation.relnamespace = 'asleep'::regnamespace
    AND relation.relkind IN ('r', 'v')
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
    AND has_table_privilege('asleep_analyst', relation.oid, 'SELECT')
ORDER BY relation.relkind, relation.relname, attribute.attnum
