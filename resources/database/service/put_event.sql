-- One row in, one row in the inbox; a body received before changes nothing.
INSERT INTO asleep.webhook_events (body_hash, headers, body)
SELECT body_hash, headers, body
FROM unnest(CAST(:hashes AS bytea[]), CAST(:headers AS jsonb[]), CAST(:bodies AS bytea[]))
    AS incoming (body_hash, headers, body)
ORDER BY body_hash
ON CONFLICT (body_hash) DO NOTHING
RETURNING body_hash
