-- One row per hole: a user or session that could not be synced and was not mended since.
SELECT kind, count(*) AS found, min(first_failed_at) AS since
FROM asleep.sync_failures
WHERE resolved_at IS NULL
GROUP BY kind
ORDER BY kind
