-- One row per session of a sleep episode of each user between two dates, stages as text.
SELECT
    s.user_id,
    s.episode_id,
    s.session_start_time,
    s.session_start_local,
    coalesce(
        date_part('epoch', s.session_end_time - s.session_start_time)::integer, 30 * cardinality(s.sleep_stages), 0
    ) AS seconds,
    s.local_zone,
    array_to_string(s.sleep_stages, ',', '-1') AS stages
FROM unnest(CAST(:user_ids AS text []), CAST(:firsts AS date []), CAST(:lasts AS date []))
    AS requested (user_id, first, last)
JOIN asleep.sleep_sessions AS s
    ON s.user_id = requested.user_id
    AND s.night_date BETWEEN requested.first AND requested.last
    AND s.episode_id IS NOT NULL
ORDER BY s.user_id, s.session_start_time
