-- Local times of sessions by another zone. One row per session changed.
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
FROM unnest(
    CAST(:session_id AS text []), CAST(:local_zone AS text []), CAST(:zone_source AS text []),
    CAST(:local_date AS date []), CAST(:local_month AS date []),
    CAST(:session_start_local AS timestamp []), CAST(:session_end_local AS timestamp []),
    CAST(:sleep_time_local AS timestamp []), CAST(:wake_time_local AS timestamp [])
) AS right_ones (
    session_id, local_zone, zone_source, local_date, local_month,
    session_start_local, session_end_local, sleep_time_local, wake_time_local
)
WHERE s.session_id = right_ones.session_id
RETURNING s.session_id
