-- One row per view or materialized view that depends on a relation of our schema and is not one of ours.
SELECT DISTINCT format('%I.%I', home.nspname, dependent.relname) AS name
FROM pg_depend AS dependency
INNER JOIN pg_rewrite AS rule ON rule.oid = dependency.objid
INNER JOIN pg_class AS dependent ON dependent.oid = rule.ev_class
INNER JOIN pg_namespace AS home ON home.oid = dependent.relnamespace
INNER JOIN pg_class AS ours ON ours.oid = dependency.refobjid
INNER JOIN pg_namespace AS schema ON schema.oid = ours.relnamespace
WHERE dependency.classid = CAST('pg_rewrite' AS regclass)
    AND dependency.refclassid = CAST('pg_class' AS regclass)
    AND schema.nspname = :schema
    AND dependent.oid <> ours.oid
    AND (home.nspname <> :schema OR dependent.relkind = 'm' OR dependent.relname <> ALL(:ours))
ORDER BY name
