-- One row per date of each user between two dates, up to yesterday.
SELECT c.user_id, c.night_date, c.status, c.is_valid_night
FROM unnest(CAST(:user_ids AS text []), CAST(:firsts AS date []), CAST(:lasts AS date []))
    AS requested (user_id, first, last)
CROSS JOIN LATERAL (
    SELECT *
    FROM asleep.all_night_dates
    WHERE all_night_dates.user_id = requested.user_id
        AND all_night_dates.night_date BETWEEN requested.first AND requested.last
) AS c
