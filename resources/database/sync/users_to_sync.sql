-- One row per user that a batch shall sync, found by an index on the hash of the id: those with unresolved failures
-- first, with the window and the sessions of these failures; contradictions are for a reconciliation, all others for a
-- sync. The window also covers a first list that was empty, which is read once more. `fresh`: the same window was
-- synced in full so recently that no request is sent. `contradictions`: the failures meant are those; `pseudonyms`:
-- only these users, also when inactive or gone; `failed_only`: only users with unresolved failures. `catch_up`: in
-- a window that includes today, users registered later start on the day on which the syncs of the batch's others began
-- (median: some users may have been synced further back, one by one).
WITH others AS MATERIALIZED (
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY lower(l.covered)) AS began
    FROM asleep.users AS u
    INNER JOIN asleep.sync_ledger AS l ON l.user_id = u.user_id
    WHERE :catch_up
        AND :window_end > clock_timestamp()
        AND hashtextextended(u.user_id, 0) BETWEEN :first_hash AND :last_hash
)
SELECT
    u.user_id,
    coalesce(
        l.listed_at > clock_timestamp() - make_interval(secs => :cache_ttl_seconds)
        AND l.window_start <= :window_start
        AND l.window_end >= :window_end
        AND (l.detail = 'full' OR l.detail = :detail)
        AND f.failure_ids IS NULL
        AND late.window_start IS NULL,
        FALSE
    ) AS fresh,
    coalesce(f.failure_ids, '{}') AS failure_ids,
    coalesce(f.failed, '{}') AS failed,
    least(f.window_start, e.window_start, late.window_start) AS failed_window_start,
    greatest(f.window_end, e.window_end) AS failed_window_end,
    u.not_found_since IS NOT NULL AS is_suspected,
    coalesce(f.damaged, '{}') AS damaged_session_ids,
    l.window_start AS listed_from,
    l.window_end AS listed_until,
    l.listed_at
FROM asleep.users AS u
LEFT JOIN asleep.sync_ledger AS l
    ON l.user_id = u.user_id
LEFT JOIN LATERAL (
    SELECT
        array_agg(failure_id ORDER BY failure_id) AS failure_ids,
        array_agg(session_id ORDER BY failure_id) AS failed,
        array_agg(session_id) FILTER (WHERE kind = 'damaged_stages') AS damaged,
        min(window_start) AS window_start,
        max(window_end) AS window_end
    FROM asleep.sync_failures
    WHERE user_id = u.user_id
        AND resolved_at IS NULL
        AND (kind = 'disagrees') = :contradictions
    HAVING count(*) > 0
) AS f ON TRUE
LEFT JOIN LATERAL (
    SELECT
        min(window_start) AS window_start,
        max(window_end) AS window_end
    FROM asleep.unconfirmed_lists
    WHERE user_id = u.user_id
        AND rows = 0
) AS e ON TRUE
LEFT JOIN LATERAL (
    SELECT began AS window_start
    FROM others
    WHERE f.failure_ids IS NULL
        AND began < :window_start
        AND coalesce(lower(l.covered) > began + interval '1 day', TRUE)
) AS late ON TRUE
WHERE hashtextextended(u.user_id, 0) BETWEEN :first_hash AND :last_hash
    AND CASE
        WHEN CAST(:pseudonyms AS text []) IS NOT NULL
            THEN asleep.pseudonym(u.user_id) = ANY(CAST(:pseudonyms AS text []))
        ELSE u.is_synced
    END
    AND (NOT :failed_only OR u.user_id IN (SELECT user_id FROM asleep.sync_failures WHERE resolved_at IS NULL))
    AND (NOT :failed_only OR f.failure_ids IS NOT NULL)
ORDER BY f.failure_ids IS NULL, u.user_id
