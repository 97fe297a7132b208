-- What syncs of the last days have noted about pages, the API's clock, averages, and violations of the contract.
WITH recent AS (
    SELECT s.contract_violations
    FROM asleep.sleep_sessions AS s
    WHERE s.updated_at >= now() - make_interval(days => :days)
),
noted AS (
    SELECT
        z.rows,
        z.clock_ahead
    FROM asleep.page_sizes AS z
    WHERE z.noted_at >= now() - make_interval(days => :days)
    ORDER BY z.noted_at DESC
    LIMIT 1
),
counted AS (
    SELECT
        each.key,
        each.value::numeric AS users
    FROM asleep.sync_batches AS b
    CROSS JOIN LATERAL jsonb_each_text(b.counts) AS each
    WHERE b.started_at >= now() - make_interval(days => :days)
        AND (starts_with(each.key, 'users_averaged_by_') OR starts_with(each.key, 'average-stats'))
)
SELECT
    (SELECT n.rows FROM noted AS n) AS page_rows,
    (SELECT n.clock_ahead FROM noted AS n) AS clock_ahead,
    (SELECT count(*) FROM recent) AS sessions,
    (SELECT sum(c.users) FROM counted AS c WHERE c.key = 'users_averaged_by_ratio_of_sums') AS of_sums,
    (SELECT sum(c.users) FROM counted AS c WHERE c.key = 'users_averaged_by_mean_of_nights') AS of_nights,
    (SELECT count(*) FROM counted) AS reconciled,
    ARRAY(
        SELECT DISTINCT substr(violation, length('list.') + 1)
        FROM recent AS r
        CROSS JOIN LATERAL unnest(r.contract_violations) AS violation
        WHERE starts_with(violation, 'list.')
    ) AS list_violations,
    ARRAY(
        SELECT DISTINCT substr(c.key, length('average-stats: ') + 1)
        FROM counted AS c
        WHERE starts_with(c.key, 'average-stats: ')
    ) AS average_violations
