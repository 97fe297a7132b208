-- One row per user and span of time: the span, widened to the first and last session that a chain of overlaps and of
-- gaps below 60 minutes connects with it.
WITH RECURSIVE spans AS (
    SELECT user_id, first, last
    FROM unnest(CAST(:user_ids AS text []), CAST(:firsts AS timestamptz []), CAST(:lasts AS timestamptz []))
        AS spans (user_id, first, last)
),
earlier AS (
    SELECT user_id, first
    FROM spans
    UNION ALL
    SELECT known.user_id, further.first
    FROM earlier AS known
    CROSS JOIN LATERAL (
        SELECT min(s.session_start_time) AS first
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = known.user_id
            AND s.session_start_time < known.first
            AND s.session_start_time > known.first - interval '25 hours'
            AND s.asleep_until > known.first - interval '60 minutes'
            AND s.slept AND NOT s.doubtful
    ) AS further
    WHERE further.first IS NOT NULL
),
later AS (
    SELECT user_id, last
    FROM spans
    UNION ALL
    SELECT known.user_id, further.last
    FROM later AS known
    CROSS JOIN LATERAL (
        SELECT max(s.asleep_until) AS last
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = known.user_id
            AND s.session_start_time < known.last + interval '60 minutes'
            AND s.session_start_time > known.last - interval '25 hours'
            AND s.asleep_until > known.last
            AND s.slept AND NOT s.doubtful
    ) AS further
    WHERE further.last IS NOT NULL
)
SELECT user_id, first, last
FROM (SELECT user_id, min(first) AS first FROM earlier GROUP BY user_id) AS firsts
JOIN (SELECT user_id, max(last) AS last FROM later GROUP BY user_id) AS lasts USING (user_id)
