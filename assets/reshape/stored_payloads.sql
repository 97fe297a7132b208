-- One page of raw results, in the order of their ids, with what the typed columns need beside them. Sessions deleted at
-- the source stay as they are; those known from a webhook event alone are read by the next sync.
SELECT
    s.session_id,
    s.user_id,
    s.fetched_at,
    p.result::text AS result,
    s.contract_violations
FROM asleep.session_payloads AS p
INNER JOIN asleep.sleep_sessions AS s
    ON s.session_id = p.session_id
WHERE p.session_id > :after
    AND s.deleted_at IS NULL
    AND s.payload_hash IS NOT NULL
    AND NOT EXISTS (SELECT FROM asleep.event_only_sessions AS e WHERE e.session_id = p.session_id)
ORDER BY p.session_id
LIMIT :page_rows
