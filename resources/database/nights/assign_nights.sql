-- Assigns sessions to nights again after some of them changed, and marks the user-months to be recomputed.
--
-- One row in per changed session: its id, and user and span before the change, null when it is new. Doubtful sessions
-- are set aside. Among the other slept sessions, from most to least sleep, one that shares more than 15 minutes of its
-- sleep period with one already kept is overlapping. Kept sessions less than 60 minutes apart form an episode; its date
-- is the local date of its last awakening. The longest episode of a user's date is the main sleep, others are naps.
--
-- Only a user's sessions that lie around the changed ones are read: from the first to the last that a chain of
-- overlaps and gaps below 60 minutes connects with them, and the episodes that share a date with one of those.
WITH RECURSIVE given AS (
    SELECT session_id, former_user, first, last
    FROM unnest(
        CAST(:session_ids AS text []), CAST(:former_users AS text []),
        CAST(:firsts AS timestamptz []), CAST(:lasts AS timestamptz [])
    ) AS given (session_id, former_user, first, last)
),
changed AS (
    SELECT
        s.user_id,
        s.night_date,
        least(s.session_start_time, given.first) AS first,
        greatest(s.session_start_time, s.session_end_time, given.last) AS last
    FROM given
    JOIN asleep.sleep_sessions AS s ON s.session_id = given.session_id
    UNION ALL
    SELECT given.former_user, s.night_date, given.first, given.last
    FROM given
    JOIN asleep.sleep_sessions AS s ON s.session_id = given.session_id AND s.user_id <> given.former_user
),
spans AS (
    SELECT user_id, min(first) AS first, max(last) AS last
    FROM changed
    GROUP BY user_id
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
            AND s.deleted_at IS NULL AND s.slept AND NOT s.doubtful
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
            AND s.deleted_at IS NULL AND s.slept AND NOT s.doubtful
    ) AS further
    WHERE further.last IS NOT NULL
),
bounds AS (
    SELECT user_id, first, last
    FROM (SELECT user_id, min(first) AS first FROM earlier GROUP BY user_id) AS firsts
    JOIN (SELECT user_id, max(last) AS last FROM later GROUP BY user_id) AS lasts USING (user_id)
),
around AS MATERIALIZED (
    SELECT
        s.user_id, s.session_id, s.session_start_time, s.asleep_from, s.asleep_until, s.time_in_sleep,
        CASE WHEN s.doubtful THEN s.session_start_local + interval '12 hours' ELSE s.asleep_until_local END::date
            AS own_date,
        s.deleted_at IS NULL AND s.slept AS slept,
        s.doubtful,
        s.night_date, s.episode_id
    FROM bounds
    JOIN asleep.sleep_sessions AS s
        ON s.user_id = bounds.user_id
        AND s.session_start_time BETWEEN bounds.first AND bounds.last
),
clustered AS (
    SELECT *, sum(opens) OVER (PARTITION BY user_id ORDER BY asleep_from, session_start_time, session_id) AS cluster
    FROM (
        SELECT
            *,
            CASE
                WHEN asleep_from < max(asleep_until) OVER earlier_ones - interval '15 minutes' THEN 0
                ELSE 1
            END AS opens
        FROM around
        WHERE slept AND NOT doubtful
        WINDOW earlier_ones AS (
            PARTITION BY user_id ORDER BY asleep_from, session_start_time, session_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    ) AS ordered
),
ranked AS MATERIALIZED (
    SELECT
        *,
        count(*) OVER (PARTITION BY user_id, cluster) AS of,
        row_number() OVER (
            PARTITION BY user_id, cluster ORDER BY time_in_sleep DESC, session_start_time, session_id
        ) AS place
    FROM clustered
),
chosen AS (
    SELECT user_id, cluster, place, session_id, TRUE AS kept, ARRAY[asleep_from] AS froms, ARRAY[asleep_until] AS untils
    FROM ranked
    WHERE of > 1 AND place = 1
    UNION ALL
    SELECT
        next.user_id, next.cluster, next.place, next.session_id, judged.kept,
        CASE WHEN judged.kept THEN done.froms || next.asleep_from ELSE done.froms END,
        CASE WHEN judged.kept THEN done.untils || next.asleep_until ELSE done.untils END
    FROM chosen AS done
    JOIN ranked AS next
        ON next.user_id = done.user_id AND next.cluster = done.cluster AND next.place = done.place + 1
    CROSS JOIN LATERAL (
        SELECT NOT EXISTS (
            SELECT
            FROM unnest(done.froms, done.untils) AS one (asleep_from, asleep_until)
            WHERE least(one.asleep_until, next.asleep_until) - greatest(one.asleep_from, next.asleep_from)
                > interval '15 minutes'
        ) AS kept
    ) AS judged
),
pieces AS (
    SELECT *, sum(begins) OVER (PARTITION BY user_id ORDER BY asleep_from, session_start_time, session_id) AS episode
    FROM (
        SELECT
            *,
            CASE
                WHEN asleep_from < max(asleep_until) OVER earlier_ones + interval '60 minutes' THEN 0
                ELSE 1
            END AS begins
        FROM ranked
        WHERE of = 1 OR session_id IN (SELECT session_id FROM chosen WHERE kept)
        WINDOW earlier_ones AS (
            PARTITION BY user_id ORDER BY asleep_from, session_start_time, session_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    ) AS ordered
),
dated AS (
    SELECT
        user_id, session_id, asleep_from, time_in_sleep,
        first_value(session_id) OVER (
            PARTITION BY user_id, episode ORDER BY asleep_from, session_start_time, session_id
        ) AS episode_id,
        first_value(own_date) OVER (
            PARTITION BY user_id, episode ORDER BY asleep_until DESC, session_start_time DESC, session_id DESC
        ) AS night_date
    FROM pieces
),
beside AS (
    SELECT s.user_id, s.session_id, s.asleep_from, s.time_in_sleep, s.episode_id, s.night_date
    FROM (
        SELECT user_id, night_date FROM around WHERE episode_id IS NOT NULL
        UNION
        SELECT user_id, night_date FROM dated
    ) AS date
    JOIN bounds ON bounds.user_id = date.user_id
    JOIN asleep.sleep_sessions AS s
        ON s.user_id = date.user_id
        AND s.night_date = date.night_date
        AND s.episode_id IS NOT NULL
        AND s.session_start_time NOT BETWEEN bounds.first AND bounds.last
),
assigned AS (
    SELECT
        session_id, night_date, episode_id, episode_sessions,
        CASE WHEN place = 1 THEN 'main' ELSE 'nap' END AS night_role
    FROM (
        SELECT
            session_id, night_date, episode_id, episode_sessions,
            dense_rank() OVER (
                PARTITION BY user_id, night_date ORDER BY asleep_in_episode DESC, began, episode_id
            ) AS place
        FROM (
            SELECT
                *,
                sum(time_in_sleep) OVER of_episode AS asleep_in_episode,
                min(asleep_from) OVER of_episode AS began,
                count(*) OVER of_episode AS episode_sessions
            FROM (SELECT * FROM dated UNION ALL SELECT * FROM beside) AS kept
            WINDOW of_episode AS (PARTITION BY user_id, episode_id)
        ) AS summed
    ) AS placed
    UNION ALL
    SELECT
        session_id, own_date, NULL, NULL,
        CASE WHEN slept AND doubtful THEN 'doubtful' WHEN slept THEN 'overlapping' END
    FROM around
    WHERE NOT EXISTS (SELECT FROM dated WHERE dated.session_id = around.session_id)
),
moved AS (
    UPDATE asleep.sleep_sessions AS s
    SET
        night_date = assigned.night_date,
        episode_id = assigned.episode_id,
        episode_sessions = assigned.episode_sessions,
        night_role = assigned.night_role,
        updated_at = now()
    FROM assigned
    WHERE s.session_id = assigned.session_id
        AND (s.night_date, s.episode_id, s.episode_sessions, s.night_role) IS DISTINCT FROM
            (assigned.night_date, assigned.episode_id, assigned.episode_sessions, assigned.night_role)
    RETURNING s.session_id, s.user_id, s.night_date
),
touched AS (
    SELECT user_id, night_date FROM changed
    UNION
    SELECT user_id, night_date FROM moved
    UNION
    SELECT around.user_id, around.night_date FROM around JOIN moved ON moved.session_id = around.session_id
),
dates AS (
    SELECT user_id, night_date FROM touched
    UNION
    -- The calendar of nights begins with the first recording: when that moves, so do the counts where it lay before.
    SELECT earliest.user_id, other.first_date
    FROM (SELECT user_id, min(night_date) AS night_date FROM touched GROUP BY user_id) AS earliest
    CROSS JOIN LATERAL (
        SELECT min(s.night_date) AS first_date
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = earliest.user_id
            AND s.deleted_at IS NULL
            AND s.session_id <> ALL (CAST(:session_ids AS text []))
    ) AS other
    WHERE other.first_date > earliest.night_date
),
stale_averages AS (
    INSERT INTO asleep.stale_months AS stored (user_id, month)
    SELECT DISTINCT user_id, date_trunc('month', night_date)::date
    FROM dates
    ORDER BY 1, 2
    ON CONFLICT (user_id, month) DO UPDATE SET version = stored.version + 1
    RETURNING stored.user_id
),
stale_metrics AS (
    -- A session may reach into the days, noon to noon, before and after its date; regularity looks back a week.
    INSERT INTO asleep.stale_periods AS stored (user_id, period, period_start)
    SELECT DISTINCT dates.user_id, touched.period, touched.period_start::date
    FROM dates
    CROSS JOIN LATERAL (
        VALUES
        ('month', date_trunc('month', night_date - 1)),
        ('month', date_trunc('month', night_date + 1)),
        ('week', date_trunc('week', night_date - 1)),
        ('week', date_trunc('week', night_date + 1)),
        ('week', date_trunc('week', night_date + 8))
    ) AS touched (period, period_start)
    ORDER BY 1, 2, 3
    ON CONFLICT (user_id, period, period_start) DO UPDATE SET version = excluded.version
    RETURNING stored.user_id
)
SELECT count(*) AS moved
FROM moved
