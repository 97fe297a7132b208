-- One row per kind of odd data: fields unknown, of the wrong type, out of range. The raw answer is kept.
SELECT regexp_replace(violation, '\[\d+\]', '[]') AS kind, count(*) AS found, min(s.updated_at) AS since
FROM asleep.sleep_sessions AS s
CROSS JOIN LATERAL unnest(s.contract_violations) AS violation
WHERE s.contract_violations <> '{}'
    AND s.deleted_at IS NULL
GROUP BY 1
ORDER BY 1
