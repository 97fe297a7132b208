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
    SELECT dates.night_date, known.*
    FROM (
        SELECT generate_series(
            min(s.night_date), (now() AT TIME ZONE 'UTC')::date - 1, interval '1 day'
        )::date AS night_date
        FROM asleep.sleep_sessions AS s
        WHERE s.user_id = u.user_id AND s.deleted_at IS NULL
    ) AS dates
    LEFT JOIN (
        SELECT
            n.night_date AS known_date,
            n.status,
            n.is_valid_night,
            n.session_id,
            n.time_in_bed,
            n.time_in_sleep,
            n.time_in_sleep_of_date,
            n.missing_data_ratio,
            n.zone_source,
            n.naps,
            n.doubtful_sessions,
            n.overlapping_sessions
        FROM asleep.night_dates AS n
        WHERE n.user_id = u.user_id
    ) AS known ON known.known_date = dates.night_date
) AS day;

COMMENT ON VIEW asleep.all_night_dates IS
    'night_calendar of all registered users, inactive ones included. Not for analysts.';

CREATE OR REPLACE VIEW asleep.night_calendar AS
SELECT dates.*
FROM asleep.users AS u
JOIN asleep.all_night_dates AS dates ON dates.user_id = u.user_id
WHERE u.active;

COMMENT ON VIEW asleep.night_calendar IS
    'One row per active user and date from the first recording to yesterday (UTC), also where nothing was recorded. '
    'Ask for one user, or some, at a time: it reads all sessions of each user it is asked for.';
COMMENT ON COLUMN asleep.night_calendar.user_id IS 'The user';
COMMENT ON COLUMN asleep.night_calendar.night_date IS 'Local date of waking up';
COMMENT ON COLUMN asleep.night_calendar.status IS
    'recorded: a main sleep. Else doubtful: only sleep longer than 24 hours; no_sleep_found; not_analysable: too '
    'short, or too much audio missing; missing: no session, although the sync covers the date; not_synced: it does '
    'not, or the session is not final yet';
COMMENT ON COLUMN asleep.night_calendar.is_valid_night IS
    'Recorded, at least 3 hours in bed, and at most a fifth of the audio missing';
COMMENT ON COLUMN asleep.night_calendar.session_id IS 'First session of the main sleep';
COMMENT ON COLUMN asleep.night_calendar.time_in_bed IS 'Length of the main sleep''s sessions, seconds';
COMMENT ON COLUMN asleep.night_calendar.time_in_sleep IS 'Sleep in the main sleep, seconds';
COMMENT ON COLUMN asleep.night_calendar.time_in_sleep_of_date IS 'The same with the date''s naps';
COMMENT ON COLUMN asleep.night_calendar.missing_data_ratio IS '0 to 1: share of audio that never arrived';
COMMENT ON COLUMN asleep.night_calendar.zone_source IS
    'Where the zone of the main sleep''s local times comes from: see sleep_sessions';
COMMENT ON COLUMN asleep.night_calendar.naps IS 'Other sleep episodes of the date';
COMMENT ON COLUMN asleep.night_calendar.doubtful_sessions IS 'Sessions longer than 24 hours that began in the night';
COMMENT ON COLUMN asleep.night_calendar.overlapping_sessions IS
    'Sessions of the date that share more than 15 minutes with a longer one';

-- The view behind it has the same columns.
DO $$
DECLARE
    entry record;
BEGIN
    FOR entry IN
        SELECT attname AS name, col_description(attrelid, attnum) AS words
        FROM pg_attribute
        WHERE attrelid = 'asleep.night_calendar'::regclass AND attnum > 0
    LOOP
        EXECUTE 'COMMENT ON COLUMN asleep.all_night_dates.' || quote_ident(entry.name) || ' IS '
            || quote_literal(entry.words);
    END LOOP;
END
$$;
