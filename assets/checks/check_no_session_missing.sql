-- One row per kind of missing data: a user or session that could not be synced and was not resolved since. Webhook
-- events that name no user are not missing data: `no_event_given_up` reports them. Contradictions have a check too.
SELECT kind, count(*) AS found, min(first_failed_at) AS since
FROM asleep.missing_data
WHERE user_id <> ''
    AND kind <> 'disagrees'
GROUP BY kind
ORDER BY kind
