-- The API's answers hold only fields, types and flags that its contract names. Odd ones are kept raw, and null in
-- the typed column.
SELECT regexp_replace(violation, '\[\d+\]', '[]') AS kind, count(*) AS found, min(s.updated_at) AS since
FROM asleep.sleep_sessions AS s
CROSS JOIN LATERAL unnest(s.contract_violations) AS violation
WHERE s.contract_violations <> '{}'
    AND s.deleted_at IS NULL
GROUP BY 1
ORDER BY 1
