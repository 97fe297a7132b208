-- Every requested user and session was read. While this fails the data have a hole, so the run fails too;
-- `asleep-sync status` lists the missing data, and the next run tries them first. Webhook events that name no user
-- do not count, nor do contradictions: they have checks of their own.
SELECT kind, count(*) AS found, min(first_failed_at) AS since
FROM asleep.missing_data
WHERE user_id <> ''
    AND kind <> 'disagrees'
GROUP BY kind
ORDER BY kind
