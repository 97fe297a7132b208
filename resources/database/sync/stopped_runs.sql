-- Runs of which a batch did not end, or never began although the last sign of the run is old, with the numbers of these
-- batches. Left out are runs that later syncs have made good: one has ended all its batches and included every active
-- user, and, if the run was to sync all users, each has been synced for all of its days at some time. A user who
-- failed, or whom the API does not find, is on record elsewhere. What has no days is a checkpoint of another operation.
WITH runs AS (
    SELECT
        run_id,
        max(batches) AS batches,
        min(started_at) AS started_at,
        max(coalesce(finished_at, started_at)) AS moved_at,
        min(window_start) AS window_start,
        max(window_end) AS window_end,
        array_agg(batch) AS begun,
        array_agg(batch) FILTER (WHERE finished_at IS NOT NULL) AS finished,
        sum((counts ->> 'users')::bigint) AS users
    FROM asleep.sync_batches
    WHERE window_start < window_end
    GROUP BY run_id
),
known AS (
    SELECT
        u.user_id,
        u.registered_at,
        u.not_found_since IS NOT NULL
        OR EXISTS (SELECT FROM asleep.sync_failures AS f WHERE f.user_id = u.user_id AND f.resolved_at IS NULL)
        AS is_on_record
    FROM asleep.users AS u
    WHERE u.is_synced
)
SELECT
    run_id,
    started_at,
    window_start,
    window_end,
    batches,
    ARRAY(
        SELECT number
        FROM generate_series(0, batches - 1) AS number
        WHERE number <> ALL(coalesce(finished, '{}'))
    ) AS unfinished
FROM runs AS stopped
WHERE (
    cardinality(begun) > coalesce(cardinality(finished), 0)
    OR (cardinality(begun) < batches AND moved_at < now() - make_interval(secs => :seconds))
)
AND (
    NOT EXISTS (
        SELECT
        FROM runs AS later
        WHERE later.started_at >= stopped.started_at
            AND cardinality(later.finished) = later.batches
            AND later.users >= (SELECT count(*) FROM known)
    )
    OR EXISTS (
        SELECT
        FROM known
        LEFT JOIN asleep.sync_ledger AS l ON l.user_id = known.user_id
        WHERE known.registered_at <= stopped.started_at
            AND (batches > 1 OR users >= (SELECT count(*) FROM known AS k WHERE k.registered_at <= stopped.started_at))
            AND NOT known.is_on_record
            AND NOT coalesce(l.covered, '{}')
            @> tstzrange(stopped.window_start, greatest(stopped.window_start, least(window_end, stopped.started_at)))
    )
)
ORDER BY started_at
