-- One row per user and month of nights: the monthly averages, with the change to the calendar month before.
CREATE OR REPLACE VIEW asleep.user_months AS
SELECT
    this.*,
    before.nights AS nights_before,
    before.avg_time_in_sleep AS avg_time_in_sleep_before,
    before.avg_time_in_sleep_of_date AS avg_time_in_sleep_of_date_before,
    this.avg_time_in_sleep_of_date - before.avg_time_in_sleep_of_date AS change_in_time_in_sleep_of_date,
    this.avg_efficiency_of_night - before.avg_efficiency_of_night AS change_in_efficiency_of_night,
    asleep.minutes_later(this.avg_onset_of_night, before.avg_onset_of_night) AS change_in_onset_of_night_minutes,
    asleep.minutes_later(this.avg_wake_of_night, before.avg_wake_of_night) AS change_in_wake_of_night_minutes,
    this.nights - before.nights AS change_in_nights,
    this.avg_time_in_bed - before.avg_time_in_bed AS change_in_time_in_bed,
    this.avg_time_in_sleep - before.avg_time_in_sleep AS change_in_time_in_sleep,
    this.avg_time_in_light - before.avg_time_in_light AS change_in_time_in_light,
    this.avg_time_in_deep - before.avg_time_in_deep AS change_in_time_in_deep,
    this.avg_time_in_rem - before.avg_time_in_rem AS change_in_time_in_rem,
    this.avg_sleep_latency - before.avg_sleep_latency AS change_in_sleep_latency,
    this.avg_sleep_efficiency - before.avg_sleep_efficiency AS change_in_sleep_efficiency,
    this.avg_sleep_index - before.avg_sleep_index AS change_in_sleep_index,
    this.avg_waso_count - before.avg_waso_count AS change_in_waso_count,
    this.avg_snoring_ratio - before.avg_snoring_ratio AS change_in_snoring_ratio,
    asleep.minutes_later(this.avg_sleep_time, before.avg_sleep_time) AS change_in_sleep_time_minutes,
    asleep.minutes_later(this.avg_wake_time, before.avg_wake_time) AS change_in_wake_time_minutes
FROM asleep.monthly_averages AS this
LEFT JOIN asleep.monthly_averages AS before
    ON before.user_id = this.user_id AND before.month = (this.month - interval '1 month')::date;

COMMENT ON VIEW asleep.user_months IS
    'One row per user and month of nights: monthly_averages, with the change to the calendar month before. Changes are '
    'null when the month before holds no sessions or a value is unknown.';
SELECT pg_temp.keep_comments('asleep.user_months', 'asleep.monthly_averages');
COMMENT ON COLUMN asleep.user_months.avg_time_in_sleep IS
    'Mean over slept sessions, naps among them. Light + deep + REM, seconds. Sleep of a date: '
    'avg_time_in_sleep_of_date';

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT attname
        FROM pg_attribute
        WHERE attrelid = 'asleep.user_months'::regclass AND attname ~ '^change_in_|_before$'
    LOOP
        EXECUTE format('COMMENT ON COLUMN asleep.user_months.%I IS %L', name, CASE
            WHEN name LIKE '%_before' THEN replace(name, '_before', '') || ' of the month before'
            WHEN name LIKE '%_minutes' THEN 'Drift of ' || replace(replace(name, 'change_in', 'avg'), '_minutes', '')
                || ' since the month before, the short way round the clock (-720 to 720); positive: later'
            ELSE replace(name, 'change_in', 'avg') || ' minus that of the month before, in the same unit'
        END);
    END LOOP;
END
$$;

COMMENT ON COLUMN asleep.user_months.change_in_nights IS 'nights - those of the month before';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_sleep IS
    'avg_time_in_sleep minus that of the month before, seconds; positive: more sleep a session. It falls, too, when '
    'naps become more frequent';
