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

-- Columns taken over from monthly_averages keep their comments.
DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT attname, col_description('asleep.monthly_averages'::regclass, source.attnum) AS words
        FROM pg_attribute AS source
        WHERE source.attrelid = 'asleep.monthly_averages'::regclass AND source.attnum > 0 AND NOT source.attisdropped
            AND EXISTS (
                SELECT FROM pg_attribute AS target
                WHERE target.attrelid = 'asleep.user_months'::regclass AND target.attname = source.attname
            )
    LOOP
        EXECUTE 'COMMENT ON COLUMN asleep.user_months.' || quote_ident(taken.attname) || ' IS '
            || quote_nullable(taken.words);
    END LOOP;
END
$$;

COMMENT ON COLUMN asleep.user_months.avg_time_in_sleep IS
    'Mean over slept sessions, naps among them. Light + deep + REM, seconds. Sleep of a date: '
    'avg_time_in_sleep_of_date';
COMMENT ON COLUMN asleep.user_months.avg_time_in_sleep_of_date_before IS
    'avg_time_in_sleep_of_date of the month before, seconds';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_sleep_of_date IS
    'avg_time_in_sleep_of_date - that of the month before, seconds; positive: more sleep';
COMMENT ON COLUMN asleep.user_months.change_in_efficiency_of_night IS
    'avg_efficiency_of_night - that of the month before; 0.05 is five percentage points';
COMMENT ON COLUMN asleep.user_months.change_in_onset_of_night_minutes IS
    'Drift of avg_onset_of_night since the month before, the short way round the clock (-720 to 720); positive: later';
COMMENT ON COLUMN asleep.user_months.change_in_wake_of_night_minutes IS
    'Drift of avg_wake_of_night since the month before, the short way round the clock (-720 to 720); positive: later';
COMMENT ON COLUMN asleep.user_months.nights_before IS 'nights of the month before';
COMMENT ON COLUMN asleep.user_months.avg_time_in_sleep_before IS 'avg_time_in_sleep of the month before, seconds';
COMMENT ON COLUMN asleep.user_months.change_in_nights IS 'nights - those of the month before';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_bed IS 'avg_time_in_bed - that of the month before, seconds';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_sleep IS
    'avg_time_in_sleep - that of the month before, seconds; positive: more sleep a session. It falls, too, when naps '
    'become more frequent';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_light IS
    'avg_time_in_light - that of the month before, seconds';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_deep IS 'avg_time_in_deep - that of the month before, seconds';
COMMENT ON COLUMN asleep.user_months.change_in_time_in_rem IS 'avg_time_in_rem - that of the month before, seconds';
COMMENT ON COLUMN asleep.user_months.change_in_sleep_latency IS
    'avg_sleep_latency - that of the month before, seconds; positive: slower to fall asleep';
COMMENT ON COLUMN asleep.user_months.change_in_sleep_efficiency IS
    'avg_sleep_efficiency - that of the month before; 0.05 is five percentage points';
COMMENT ON COLUMN asleep.user_months.change_in_sleep_index IS 'avg_sleep_index - that of the month before';
COMMENT ON COLUMN asleep.user_months.change_in_waso_count IS 'avg_waso_count - that of the month before';
COMMENT ON COLUMN asleep.user_months.change_in_snoring_ratio IS 'avg_snoring_ratio - that of the month before';
COMMENT ON COLUMN asleep.user_months.change_in_sleep_time_minutes IS
    'Drift of avg_sleep_time since the month before, the short way round the clock (-720 to 720); positive: later';
COMMENT ON COLUMN asleep.user_months.change_in_wake_time_minutes IS
    'Drift of avg_wake_time since the month before, the short way round the clock (-720 to 720); positive: later';
