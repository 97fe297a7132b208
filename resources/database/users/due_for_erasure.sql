-- One row per user whose data must go: gone or about to be deleted at the source for longer than the grace, or erased
-- before with something left, which a sync that was under way may have written back.
SELECT user_id, 'gone' AS reason
FROM asleep.users
WHERE gone_at <= now() - CAST(:grace AS interval)
UNION ALL
SELECT user_id, 'to_be_deleted' AS reason
FROM asleep.users
WHERE to_be_deleted
    AND to_be_deleted_since <= now() - CAST(:grace AS interval)
    AND (gone_at IS NULL OR gone_at > now() - CAST(:grace AS interval))
UNION ALL
SELECT left_over.user_id, erased.reason
FROM (
    SELECT user_id FROM asleep.stale_months
    UNION
    SELECT user_id FROM asleep.monthly_averages
    UNION
    SELECT user_id FROM asleep.stale_periods
    UNION
    SELECT user_id FROM asleep.sleep_metrics
) AS left_over
CROSS JOIN LATERAL (
    SELECT reason
    FROM asleep.erasures
    WHERE user_pseudonym = asleep.pseudonym(left_over.user_id)
    ORDER BY erasure_id DESC
    LIMIT 1
) AS erased
WHERE NOT EXISTS (SELECT FROM asleep.users WHERE users.user_id = left_over.user_id)
ORDER BY user_id
