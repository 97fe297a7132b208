-- Users of an import: new ones, and changes of those that are registered. One row for each written.
INSERT INTO asleep.users AS stored (user_id, timezone, source)
SELECT user_id, timezone, 'import'
FROM unnest(CAST(:ids AS text[]), CAST(:timezones AS text[])) AS incoming (user_id, timezone)
ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE
SET timezone = coalesce(excluded.timezone, stored.timezone), gone_at = NULL
WHERE stored.gone_at IS NOT NULL
    OR excluded.timezone IS NOT NULL AND excluded.timezone IS DISTINCT FROM stored.timezone
RETURNING xmax = 0 AS inserted
