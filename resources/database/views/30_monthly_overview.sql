-- One row per month of nights: all users together. Each user counts once, however many nights they recorded.
CREATE OR REPLACE VIEW asleep.monthly_overview AS
SELECT
    month,
    count(*) AS users,
    count(*) FILTER (WHERE slept_sessions > 0) AS sleeping_users,
    sum(sessions) AS sessions,
    sum(slept_sessions) AS slept_sessions,
    sum(never_slept_sessions) AS never_slept_sessions,
    sum(unanalysed_sessions) AS unanalysed_sessions,
    sum(nights) AS nights,
    sum(nights)::double precision / nullif(count(*) FILTER (WHERE slept_sessions > 0), 0) AS nights_per_user,
    asleep.clock_mean(
        sum(sin(date_part('epoch', avg_sleep_time) * pi() / 43200)),
        sum(cos(date_part('epoch', avg_sleep_time) * pi() / 43200)),
        count(avg_sleep_time)
    ) AS avg_sleep_time,
    asleep.clock_mean(
        sum(sin(date_part('epoch', avg_wake_time) * pi() / 43200)),
        sum(cos(date_part('epoch', avg_wake_time) * pi() / 43200)),
        count(avg_wake_time)
    ) AS avg_wake_time,
    asleep.clock_mean(
        sum(sin(date_part('epoch', avg_onset_of_night) * pi() / 43200)),
        sum(cos(date_part('epoch', avg_onset_of_night) * pi() / 43200)),
        count(avg_onset_of_night)
    ) AS avg_onset_of_night,
    asleep.clock_mean(
        sum(sin(date_part('epoch', avg_wake_of_night) * pi() / 43200)),
        sum(cos(date_part('epoch', avg_wake_of_night) * pi() / 43200)),
        count(avg_wake_of_night)
    ) AS avg_wake_of_night,
    avg(avg_time_in_sleep_of_date) AS avg_time_in_sleep_of_date,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY avg_time_in_sleep_of_date) AS median_time_in_sleep_of_date,
    avg(avg_efficiency_of_night) AS avg_efficiency_of_night,
    percentile_cont(0.25) WITHIN GROUP (ORDER BY avg_efficiency_of_night) AS lower_quartile_efficiency_of_night,
    percentile_cont(0.75) WITHIN GROUP (ORDER BY avg_efficiency_of_night) AS upper_quartile_efficiency_of_night,
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
GROUP BY month;

COMMENT ON VIEW asleep.monthly_overview IS
    'One row per month of nights: all users together, from monthly_averages. Counts are sums; averages are means of '
    'the users'' averages, so each user counts once, however many nights they recorded.';
SELECT pg_temp.keep_comments('asleep.monthly_overview', 'asleep.monthly_averages', 'Mean of the users'' averages. ');
COMMENT ON COLUMN asleep.monthly_overview.month IS 'First day of the month; a night belongs to the date of waking up';
COMMENT ON COLUMN asleep.monthly_overview.users IS 'Users with a session in the month';
COMMENT ON COLUMN asleep.monthly_overview.sleeping_users IS 'Users with a slept session; averages are over these';
COMMENT ON COLUMN asleep.monthly_overview.slept_sessions IS 'COMPLETE sessions with sleep';
COMMENT ON COLUMN asleep.monthly_overview.nights IS 'Main sleeps: pairs of user and date';
COMMENT ON COLUMN asleep.monthly_overview.nights_per_user IS 'nights / sleeping_users';
COMMENT ON COLUMN asleep.monthly_overview.naps IS 'Naps of all users';
COMMENT ON COLUMN asleep.monthly_overview.median_time_in_sleep IS
    'Median of the users'' averages a session, seconds';
COMMENT ON COLUMN asleep.monthly_overview.median_time_in_sleep_of_date IS
    'Sleep of a date, naps included: median of the users'' averages, seconds';
COMMENT ON COLUMN asleep.monthly_overview.lower_quartile_efficiency_of_night IS
    'A quarter of the users has a lower avg_efficiency_of_night';
COMMENT ON COLUMN asleep.monthly_overview.upper_quartile_efficiency_of_night IS
    'A quarter of the users has a higher avg_efficiency_of_night';
COMMENT ON COLUMN asleep.monthly_overview.avg_time_in_sleep IS
    'Mean of the users'' averages a session, seconds; a nap is a session. Sleep of a date: avg_time_in_sleep_of_date';
