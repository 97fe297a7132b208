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

-- Minutes from one clock time to another, the short way round the clock.
CREATE OR REPLACE FUNCTION asleep.minutes_later(this time, before time)
RETURNS double precision
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
SELECT (mod(date_part('epoch', this - before)::integer + 129600, 86400) - 43200) / 60.0::double precision
$$;

COMMENT ON FUNCTION asleep.minutes_later(time, time) IS
    'Minutes by which one clock time is later than another, the short way round the clock: -720 to 720'
