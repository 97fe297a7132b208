-- Sessions made in the database: :users users, a night each for :days days up to :until, chronologically as a yearly
-- sync would leave them. Stage arrays come from night_pool (number, sleep_stages, snoring_stages) when it has rows.
-- Statistics are plausible, not derived from the stages. One night in fifty is a running session, one in fifty held
-- no sleep, one in fifty was too short.
INSERT INTO asleep.sleep_sessions (
    session_id, user_id, state, session_start_time, session_end_time, created_timezone, local_zone, zone_source,
    local_date, local_month,
    session_start_local, session_end_local, sleep_time_local, wake_time_local, last_received_seq_num, peculiarities,
    missing_data_ratio, sleep_time, wake_time, sleep_index, sleep_latency, wakeup_latency, light_latency,
    deep_latency, rem_latency, time_in_bed, time_in_sleep_period, time_in_sleep, time_in_wake, time_in_light,
    time_in_deep, time_in_rem, time_in_snoring, time_in_no_snoring, sleep_efficiency, sleep_ratio, wake_ratio,
    light_ratio, deep_ratio, rem_ratio, snoring_ratio, no_snoring_ratio, waso_count, longest_waso, sleep_cycle_count,
    sleep_cycle, sleep_cycle_time, snoring_count, sleep_stages, snoring_stages, payload_hash, fetched_at, updated_at,
    night_date, episode_id, episode_sessions, night_role
)
SELECT
    to_char(start_time AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS') || '_' || to_char(person, 'FM00000'),
    'G-20260101000000-' || lpad(translate(person::text, '0123456789', 'abcdefghij'), 20, 'x'),
    CASE WHEN kind = 0 THEN 'OPEN' ELSE 'COMPLETE' END,
    start_time,
    CASE WHEN kind > 0 THEN start_time + bed * interval '1 second' END,
    'Asia/Seoul',
    'Asia/Seoul',
    'own',
    start_local::date,
    date_trunc('month', start_local)::date,
    start_local,
    CASE WHEN kind > 0 THEN start_local + bed * interval '1 second' END,
    CASE WHEN kind > 2 THEN start_local + latency * interval '1 second' END,
    CASE WHEN kind > 2 THEN start_local + (bed - 300) * interval '1 second' END,
    bed / 30 - 1,
    CASE kind
        WHEN 0 THEN '{IN_PROGRESS}'::text []
        WHEN 1 THEN '{NEVER_SLEPT,NO_BREATHING_STABILITY}'
        WHEN 2 THEN '{TOO_SHORT_FOR_ANALYSIS,NO_BREATHING_STABILITY}'
        ELSE '{NO_BREATHING_STABILITY}'
    END,
    0,
    CASE WHEN kind > 2 THEN start_time + latency * interval '1 second' END,
    CASE WHEN kind > 2 THEN start_time + (bed - 300) * interval '1 second' END,
    CASE WHEN kind > 2 THEN 60 + (chance * 35)::integer END,
    CASE WHEN kind > 2 THEN latency END,
    CASE WHEN kind > 2 THEN 300 END,
    CASE WHEN kind > 2 THEN 0 END,
    CASE WHEN kind > 2 THEN 900 END,
    CASE WHEN kind > 2 THEN 4200 END,
    CASE WHEN kind IN (1, 3) OR kind > 3 THEN bed END,
    CASE WHEN kind > 2 THEN bed - latency - 300 END,
    CASE WHEN kind > 2 THEN asleep WHEN kind = 1 THEN 0 END,
    CASE WHEN kind > 2 THEN bed - latency - 300 - asleep END,
    CASE WHEN kind > 2 THEN asleep - asleep / 5 - asleep / 4 END,
    CASE WHEN kind > 2 THEN asleep / 5 END,
    CASE WHEN kind > 2 THEN asleep / 4 END,
    CASE WHEN kind > 2 THEN 900 END,
    CASE WHEN kind > 2 THEN bed - latency - 1200 END,
    CASE WHEN kind > 2 THEN round((asleep / bed::numeric), 2) END,
    CASE WHEN kind > 2 THEN 0.96 END,
    CASE WHEN kind > 2 THEN 0.04 END,
    CASE WHEN kind > 2 THEN 0.53 END,
    CASE WHEN kind > 2 THEN 0.19 END,
    CASE WHEN kind > 2 THEN 0.24 END,
    CASE WHEN kind > 2 THEN 0.03 END,
    CASE WHEN kind > 2 THEN 0.97 END,
    CASE WHEN kind > 2 THEN 2 + (chance * 6)::integer END,
    CASE WHEN kind > 2 THEN 240 END,
    CASE WHEN kind > 2 THEN 4 END,
    CASE WHEN kind > 2 THEN 5400 END,
    CASE WHEN kind > 2 THEN array[start_time + latency * interval '1 second', start_time + interval '6 hours'] END,
    CASE WHEN kind > 2 THEN 3 END,
    night_pool.sleep_stages,
    night_pool.snoring_stages,
    CASE WHEN kind > 0 THEN decode(md5(person::text || day::text), 'hex') END,
    start_time + interval '12 hours',
    start_time + interval '12 hours',
    (
        CASE
            WHEN kind = 0 THEN start_local
            WHEN kind > 2 THEN start_local + (bed - 300) * interval '1 second'
            ELSE start_local + bed * interval '1 second'
        END
    )::date,
    CASE
        WHEN kind > 2
            THEN to_char(start_time AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS') || '_' || to_char(person, 'FM00000')
    END,
    CASE WHEN kind > 2 THEN 1 END,
    CASE WHEN kind > 2 THEN 'main' END
FROM (
    SELECT
        *,
        start_time AT TIME ZONE 'Asia/Seoul' AS start_local,
        bed - latency - 300 - bed / 20 AS asleep
    FROM (
        SELECT
            person,
            day,
            chance,
            abs(hashtext(person::text || ' ' || day::text)) AS hash,
            CASE WHEN day = :days - 1 THEN least((chance * 50)::integer, 3) ELSE 1 + (chance * 50)::integer END AS kind,
            (CAST(:until AS date) - :days + 1 + day + time '12:30' + chance * interval '2 hours')::timestamp (0)
                AT TIME ZONE 'UTC' AS start_time,
            23400 + (chance * 9000)::integer + person % 3600 AS bed,
            300 + (chance * 1200)::integer AS latency
        FROM (
            SELECT person, day, abs(hashtext(person::text || '/' || day::text)) / 2147483648.0 AS chance
            FROM generate_series(0, :days - 1) AS day, generate_series(1, :users) AS person
            OFFSET 0
        ) AS thrown
    ) AS nights
    OFFSET 0
) AS known
LEFT JOIN night_pool ON night_pool.number = known.hash % (SELECT greatest(count(*), 1) FROM night_pool)
