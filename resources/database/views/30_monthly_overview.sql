-- One row per month of nights: all users together. Each user counts once, however many nights they recorded.
CREATE OR REPLACE VIEW asleep.monthly_overview AS
SELECT
    month,
    users,
    sleeping_users,
    sessions,
    slept_sessions,
    never_slept_sessions,
    unanalysed_sessions,
    nights,
    nights::double precision / nullif(sleeping_users, 0) AS nights_per_user,
    asleep.clock_mean(sleep_sine, sleep_cosine, sleep_times) AS avg_sleep_time,
    asleep.clock_mean(wake_sine, wake_cosine, wake_times) AS avg_wake_time,
    asleep.clock_mean(onset_sine, onset_cosine, onsets) AS avg_onset_of_night,
    asleep.clock_mean(awake_sine, awake_cosine, awakenings) AS avg_wake_of_night,
    avg_time_in_sleep_of_date,
    median_time_in_sleep_of_date,
    avg_efficiency_of_night,
    avg_latency_of_night,
    avg_waso_of_night,
    naps,
    avg_time_in_bed,
    avg_time_in_sleep,
    median_time_in_sleep,
    avg_time_in_wake,
    avg_time_in_light,
    avg_time_in_deep,
    avg_time_in_rem,
    avg_sleep_latency,
    avg_sleep_efficiency,
    avg_light_ratio,
    avg_deep_ratio,
    avg_rem_ratio,
    avg_wake_ratio,
    avg_snoring_ratio,
    avg_sleep_index,
    avg_waso_count,
    avg_breathing_index
FROM (
    SELECT
        month,
        count(*) AS users,
        count(*) FILTER (WHERE slept_sessions > 0) AS sleeping_users,
        sum(sessions) AS sessions,
        sum(slept_sessions) AS slept_sessions,
        sum(never_slept_sessions) AS never_slept_sessions,
        sum(unanalysed_sessions) AS unanalysed_sessions,
        sum(nights) AS nights,
        sum(sin(date_part('epoch', avg_sleep_time) * pi() / 43200)) AS sleep_sine,
        sum(cos(date_part('epoch', avg_sleep_time) * pi() / 43200)) AS sleep_cosine,
        sum(sin(date_part('epoch', avg_wake_time) * pi() / 43200)) AS wake_sine,
        sum(cos(date_part('epoch', avg_wake_time) * pi() / 43200)) AS wake_cosine,
        count(avg_sleep_time) AS sleep_times,
        count(avg_wake_time) AS wake_times,
        sum(sin(date_part('epoch', avg_onset_of_night) * pi() / 43200)) AS onset_sine,
        sum(cos(date_part('epoch', avg_onset_of_night) * pi() / 43200)) AS onset_cosine,
        count(avg_onset_of_night) AS onsets,
        sum(sin(date_part('epoch', avg_wake_of_night) * pi() / 43200)) AS awake_sine,
        sum(cos(date_part('epoch', avg_wake_of_night) * pi() / 43200)) AS awake_cosine,
        count(avg_wake_of_night) AS awakenings,
        avg(avg_time_in_sleep_of_date) AS avg_time_in_sleep_of_date,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY avg_time_in_sleep_of_date) AS median_time_in_sleep_of_date,
        avg(avg_efficiency_of_night) AS avg_efficiency_of_night,
        avg(avg_latency_of_night) AS avg_latency_of_night,
        avg(avg_waso_of_night) AS avg_waso_of_night,
        sum(naps) AS naps,
        avg(avg_time_in_bed) AS avg_time_in_bed,
        avg(avg_time_in_sleep) AS avg_time_in_sleep,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY avg_time_in_sleep) AS median_time_in_sleep,
        avg(avg_time_in_wake) AS avg_time_in_wake,
        avg(avg_time_in_light) AS avg_time_in_light,
        avg(avg_time_in_deep) AS avg_time_in_deep,
        avg(avg_time_in_rem) AS avg_time_in_rem,
        avg(avg_sleep_latency) AS avg_sleep_latency,
        avg(avg_sleep_efficiency) AS avg_sleep_efficiency,
        avg(avg_light_ratio) AS avg_light_ratio,
        avg(avg_deep_ratio) AS avg_deep_ratio,
        avg(avg_rem_ratio) AS avg_rem_ratio,
        avg(avg_wake_ratio) AS avg_wake_ratio,
        avg(avg_snoring_ratio) AS avg_snoring_ratio,
        avg(avg_sleep_index) AS avg_sleep_index,
        avg(avg_waso_count) AS avg_waso_count,
        avg(avg_breathing_index) AS avg_breathing_index
    FROM asleep.monthly_averages
    GROUP BY month
) AS total;

COMMENT ON VIEW asleep.monthly_overview IS
    'One row per month of nights: all users together, from monthly_averages. Counts are sums; averages are means of '
    'the users'' averages, so each user counts once, however many nights they recorded.';
COMMENT ON COLUMN asleep.monthly_overview.month IS 'First day of the month; a night belongs to the date of waking up';
COMMENT ON COLUMN asleep.monthly_overview.users IS 'Users with a session in the month';
COMMENT ON COLUMN asleep.monthly_overview.sleeping_users IS 'Users with a slept session; averages are over these';
COMMENT ON COLUMN asleep.monthly_overview.sessions IS 'Sessions whose night is in the month, whatever their state';
COMMENT ON COLUMN asleep.monthly_overview.slept_sessions IS 'COMPLETE sessions with sleep';
COMMENT ON COLUMN asleep.monthly_overview.never_slept_sessions IS 'COMPLETE sessions in which no sleep was found';
COMMENT ON COLUMN asleep.monthly_overview.unanalysed_sessions IS 'Sessions without statistics (running, too short, …)';
COMMENT ON COLUMN asleep.monthly_overview.nights IS 'Main sleeps: pairs of user and date';
COMMENT ON COLUMN asleep.monthly_overview.nights_per_user IS 'nights / sleeping_users';
COMMENT ON COLUMN asleep.monthly_overview.avg_sleep_time IS
    'Circular mean of the users'' clock times of falling asleep';
COMMENT ON COLUMN asleep.monthly_overview.avg_wake_time IS 'Circular mean of the users'' clock times of waking up';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_bed IS 'Mean of the users'' averages a session, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_sleep IS
    'Mean of the users'' averages a session, seconds; a nap is a session. Sleep of a date: avg_time_in_sleep_of_date';
COMMENT ON COLUMN asleep.monthly_overview.median_time_in_sleep IS
    'Median of the users'' averages a session, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_wake IS
    'Wake inside the sleep period: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_light IS 'Light sleep: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_deep IS 'Deep sleep: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_rem IS 'REM sleep: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_sleep_latency IS
    'Session start to first sleep: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_sleep_efficiency IS
    '0 to 1, time_in_sleep / time_in_bed: mean of the users'' averages';
COMMENT ON COLUMN asleep.monthly_overview.avg_light_ratio IS '0 to 1, share of the sleep period: mean over users';
COMMENT ON COLUMN asleep.monthly_overview.avg_deep_ratio IS '0 to 1, share of the sleep period: mean over users';
COMMENT ON COLUMN asleep.monthly_overview.avg_rem_ratio IS '0 to 1, share of the sleep period: mean over users';
COMMENT ON COLUMN asleep.monthly_overview.avg_wake_ratio IS '0 to 1, share of the sleep period: mean over users';
COMMENT ON COLUMN asleep.monthly_overview.avg_snoring_ratio IS '0 to 1, share of the sleep period: mean over users';
COMMENT ON COLUMN asleep.monthly_overview.avg_sleep_index IS 'Quality score, 50 to 100: mean of the users'' averages';
COMMENT ON COLUMN asleep.monthly_overview.avg_waso_count IS
    'Wake runs inside the sleep period: mean of the users'' averages';
COMMENT ON COLUMN asleep.monthly_overview.avg_breathing_index IS
    'Mean of the users'' averages; null where the contract excludes breathing analysis';
COMMENT ON COLUMN asleep.monthly_overview.avg_onset_of_night IS
    'Falling asleep in the main sleep: circular mean of the users'' averages';
COMMENT ON COLUMN asleep.monthly_overview.avg_wake_of_night IS
    'Last awakening of the main sleep: circular mean of the users'' averages';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_sleep_of_date IS
    'Sleep of a date, naps included: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.median_time_in_sleep_of_date IS
    'Sleep of a date, naps included: median of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_efficiency_of_night IS
    'Main sleeps, time_in_sleep / time_in_bed: mean of the users'' averages';
COMMENT ON COLUMN asleep.monthly_overview.avg_latency_of_night IS
    'Main sleeps, start to first sleep: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.avg_waso_of_night IS
    'Main sleeps, wake after sleep onset: mean of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.naps IS 'Naps of all users';
