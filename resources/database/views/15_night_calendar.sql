-- One row per user and date from the first recording to yesterday, also where there is none. A date is covered when the
-- syncs of the user have read both UTC days on which a session of that night can start.
CREATE OR REPLACE VIEW asleep.all_night_dates AS
SELECT
    u.user_id,
    day.night_date,
    CASE
        WHEN day.status IS NOT NULL THEN day.status
        WHEN asleep.covers_nights(ledger.covered, day.night_date, day.night_date + 1) THEN 'missing'
        ELSE 'not_synced'
    END AS status,
    coalesce(day.is_valid_night, FALSE) AS is_valid_night,
    day.session_id,
    day.time_in_bed,
    day.time_in_sleep,
    day.time_in_sleep_of_date,
    day.missing_data_ratio,
    day.zone_source,
    coalesce(day.naps, 0) AS naps,
    coalesce(day.doubtful_sessions, 0) AS doubtful_sessions,
    coalesce(day.overlapping_sessions, 0) AS overlapping_sessions
FROM asleep.users AS u
LEFT JOIN asleep.sync_ledger AS ledger ON ledger.user_id = u.user_id
CROSS JOIN LATERAL (
    SELECT *
    FROM (
        SELECT generate_series(
            min(s.night_date), (now() AT TIME ZONE 'UTC')::date - 1, interval '1 day'
        )::date AS night_date
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = u.user_id AND s.deleted_at IS NULL
    ) AS dates
    LEFT JOIN (SELECT * FROM asleep.night_dates AS n WHERE n.user_id = u.user_id) AS known USING (night_date)
) AS day;

COMMENT ON VIEW asleep.all_night_dates IS
    'night_calendar of all registered users, inactive ones included. Not for analysts.';
SELECT pg_temp.keep_comments('asleep.all_night_dates', 'asleep.night_dates');
COMMENT ON COLUMN asleep.all_night_dates.status IS
    'recorded: a main sleep. Else doubtful: only sleep longer than 24 hours; no_sleep_found; not_analysable: too '
    'short, too much audio missing, or only sleep that overlaps another night; missing: no session, although the sync '
    'covers the date; not_synced: it does not, or the session is not final yet';

CREATE OR REPLACE VIEW asleep.night_calendar AS
SELECT dates.*
FROM asleep.users AS u
JOIN asleep.all_night_dates AS dates ON dates.user_id = u.user_id
WHERE u.active;

COMMENT ON VIEW asleep.night_calendar IS
    'One row per active user and date from the first recording to yesterday (UTC), also where nothing was recorded. '
    'Ask for one user, or some, at a time: it reads all sessions of each user it is asked for.';
SELECT pg_temp.keep_comments('asleep.night_calendar', 'asleep.all_night_dates');
