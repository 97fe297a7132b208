-- Example: hours of sleep by weekday of waking up.
SELECT
    extract(ISODOW FROM night_date) AS weekday,
    count(*) AS nights,
    avg(time_in_sleep) / 3600 AS hours_asleep
FROM {{ source('asleep', 'nights') }}
WHERE is_valid_night
GROUP BY 1
