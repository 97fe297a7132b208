CREATE OR REPLACE FUNCTION asleep.clock_angle(local_time timestamp)
RETURNS double precision
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
SELECT date_part('epoch', local_time::time) * (pi() / 43200)
$$;

COMMENT ON FUNCTION asleep.clock_angle(timestamp) IS 'A clock time as an angle: 0 at midnight, pi at noon';

-- The mean of clock times from the sums of their sines and cosines: 23:50 and 00:10 meet at midnight, not at noon. Null
-- when the clock times cancel each other, as midnight and noon do.
CREATE OR REPLACE FUNCTION asleep.clock_mean(sines double precision, cosines double precision, clock_times bigint)
RETURNS time
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
SELECT CASE
    WHEN sqrt(sines ^ 2 + cosines ^ 2) > 1e-6 * clock_times
        THEN time '00:00' + make_interval(
            secs => round(round((atan2(sines, cosines) * 43200 / pi())::numeric, 6))::integer
        )
END
$$;

COMMENT ON FUNCTION asleep.clock_mean(double precision, double precision, bigint) IS
    'Circular mean of clock times, to the second, from the sums of sines and cosines of their angles and their number';

CREATE OR REPLACE FUNCTION asleep.minutes_later(this time, before time)
RETURNS double precision
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
SELECT (mod(date_part('epoch', this - before)::integer + 129600, 86400) - 43200) / 60.0::double precision
$$;

COMMENT ON FUNCTION asleep.minutes_later(time, time) IS
    'Minutes by which one clock time is later than another, the short way round the clock: -720 to 720';

-- Whether a main sleep counts in means: a recording that broke off early, or lacks much of its audio, does not.
CREATE OR REPLACE FUNCTION asleep.is_valid_night(seconds_in_bed double precision, missing_ratio double precision)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
SELECT coalesce(seconds_in_bed, 0) >= 10800 AND coalesce(missing_ratio, 0) <= 0.2
$$;

COMMENT ON FUNCTION asleep.is_valid_night(double precision, double precision) IS
    'At least 3 hours in bed, and at most a fifth of the audio missing';

-- Whether a user's syncs have read every UTC day on which a session of these nights can start: each date's and the one
-- before.
CREATE OR REPLACE FUNCTION asleep.covers_nights(covered tstzmultirange, first_date date, end_date date)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
SELECT covered @> tstzrange(
    (first_date - 1)::timestamp AT TIME ZONE 'UTC', end_date::timestamp AT TIME ZONE 'UTC'
)
$$;

COMMENT ON FUNCTION asleep.covers_nights(tstzmultirange, date, date) IS
    'Whether spans that were synced cover the nights from a date up to another, which is excluded';

-- For the views below: a column that is taken over from another relation under its name keeps its comment; those
-- of averages begin with more words. The function vanishes with the connection.
CREATE OR REPLACE FUNCTION pg_temp.keep_comments(view regclass, source regclass, of_averages text DEFAULT '')
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    kept record;
BEGIN
    FOR kept IN
        SELECT
            ours.attname AS name,
            CASE WHEN ours.attname LIKE 'avg_%' THEN of_averages ELSE '' END || col_description(source, theirs.attnum)
                AS words
        FROM pg_attribute AS ours
        JOIN pg_attribute AS theirs ON theirs.attrelid = source AND theirs.attname = ours.attname
        WHERE ours.attrelid = view AND ours.attnum > 0 AND theirs.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', view, kept.name, kept.words);
    END LOOP;
END
$$;

-- A sentence more at the end of comments that were taken over, where the view derives the column in another way.
CREATE OR REPLACE FUNCTION pg_temp.add_to_comments(view regclass, words text, names text [])
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT attname AS name, col_description(view, attnum) AS comment
        FROM pg_attribute
        WHERE attrelid = view AND attname = ANY(names)
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', view, own.name, own.comment || words);
    END LOOP;
END
$$;
