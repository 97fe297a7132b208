-- Periods that were running when their metrics were computed, on an earlier day; and those computed by other
-- definitions, or with other free days, than today's.
INSERT INTO asleep.stale_periods (user_id, period, period_start)
SELECT metrics.user_id, metrics.period, metrics.period_start
FROM asleep.sleep_metrics AS metrics
JOIN asleep.users AS u ON u.user_id = metrics.user_id
CROSS JOIN LATERAL (SELECT coalesce(u.free_days, CAST(:free_days AS smallint [])) AS free_days) AS now_free
WHERE (NOT metrics.is_complete AND metrics.as_of < :today)
    OR metrics.definition_version <> :version
    OR (metrics.free_days IS NOT NULL
        AND NOT (metrics.free_days @> now_free.free_days AND metrics.free_days <@ now_free.free_days))
ORDER BY metrics.user_id, metrics.period, metrics.period_start
ON CONFLICT (user_id, period, period_start) DO NOTHING
