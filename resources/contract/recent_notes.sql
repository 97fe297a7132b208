-- What syncs of the last days have noted about pages, the API's clock, averages, and violations of the contract.
WITH recent AS (
    SELECT s.contract_violations
    FROM asleep.sleep_sessions AS s
    WHERE s.updated_at >= now() - make_interval(days => :days)
),
noted AS (
    SELECT
        z.page_rows,
        z.clock_ahead,
        z.averaging_formula
    FROM asleep.api_accounts AS z
    WHERE z.noted_at >= now() - make_interval(days => :days)
    ORDER BY z.noted_at DESC
    LIMIT 1
),
counted AS (
    SELECT
        each.key,
        each.value
    FROM asleep.sync_batches AS b
    CROSS JOIN LATERAL jsonb_each_text(b.counts) AS each
    WHERE b.started_at >= now() - make_interval(days => :days)
        AND (each.key = 'requests_average_stats' OR starts_with(each.key, 'average-stats: '))
)
SELECT
    (SELECT n.page_rows FROM noted AS n) AS page_rows,
    (SELECT n.clock_ahead FROM noted AS n) AS clock_ahead,
    (SELECT count(*) FROM recent) AS sessions,
    (SELECT n.averaging_formula FROM noted AS n) AS averaging_formula,
    (SELECT count(*) FROM counted AS c WHERE c.value <> '0') AS reconciled,
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
