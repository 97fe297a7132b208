-- Local times of sessions by another zone; the months that lose or gain a session are queued.
WITH right_ones AS (
    SELECT *
    FROM unnest(
        CAST(:session_id AS text []), CAST(:local_zone AS text []), CAST(:zone_source AS text []),
        CAST(:local_date AS date []), CAST(:local_month AS date []),
        CAST(:session_start_local AS timestamp []), CAST(:session_end_local AS timestamp []),
        CAST(:sleep_time_local AS timestamp []), CAST(:wake_time_local AS timestamp [])
    ) AS given (
        session_id, local_zone, zone_source, local_date, local_month,
        session_start_local, session_end_local, sleep_time_local, wake_time_local
    )
),
before AS (
    SELECT s.session_id, s.user_id, s.local_month
    FROM asleep.sleep_sessions AS s
    INNER JOIN right_ones
        ON right_ones.session_id = s.session_id
),
changed AS (
    UPDATE asleep.sleep_sessions AS s
    SET
        local_zone = right_ones.local_zone,
        zone_source = right_ones.zone_source,
        local_date = right_ones.local_date,
        local_month = right_ones.local_month,
        session_start_local = right_ones.session_start_local,
        session_end_local = right_ones.session_end_local,
        sleep_time_local = right_ones.sleep_time_local,
        wake_time_local = right_ones.wake_time_local,
        updated_at = now()
    FROM right_ones
    WHERE s.session_id = right_ones.session_id
    RETURNING s.user_id, s.local_month
),
months AS (
    SELECT user_id, local_month FROM before
    UNION
    SELECT user_id, local_month FROM changed
),
stale AS (
    INSERT INTO asleep.stale_months AS stored (user_id, month)
    SELECT user_id, local_month
    FROM months
    ORDER BY user_id, local_month
    ON CONFLICT (user_id, month) DO UPDATE
        SET version = stored.version + 1
    RETURNING stored.user_id
)
SELECT count(*)
FROM changed
