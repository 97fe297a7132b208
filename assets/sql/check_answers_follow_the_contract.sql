-- One row per kind of odd data: fields unknown, of the wrong type, out of range. The raw answer is kept.
SELECT regexp_replace(oddity, '\[\d+\]', '[]') AS kind, count(*) AS found, min(s.updated_at) AS since
FROM asleep.sleep_sessions AS s
CROSS JOIN LATERAL unnest(s.oddities) AS oddity
WHERE s.oddities <> '{}'
    AND s.deleted_at IS NULL
GROUP BY 1
ORDER BY 1
