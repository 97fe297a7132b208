-- Who may read what: asleep_analyst reads users, sessions, averages and the views, and nothing else of the schema.
-- People log in with a role of their own that is a member of it: GRANT asleep_analyst TO maria.
-- Roles belong to the whole server, so a role may exist already, and we may not be allowed to make one.
REVOKE ALL ON SCHEMA asleep FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA asleep FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA asleep FROM PUBLIC;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'asleep_analyst') THEN
        CREATE ROLE asleep_analyst NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- made by another process at the same moment
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'Role asleep_analyst is missing and we may not make it: let an administrator run '
            '"CREATE ROLE asleep_analyst NOLOGIN", then migrate again';
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'asleep_analyst') THEN
        REVOKE ALL ON SCHEMA asleep FROM asleep_analyst;
        REVOKE ALL ON ALL TABLES IN SCHEMA asleep FROM asleep_analyst;
        REVOKE ALL ON ALL SEQUENCES IN SCHEMA asleep FROM asleep_analyst;
        GRANT USAGE ON SCHEMA asleep TO asleep_analyst;
        GRANT SELECT ON
            asleep.users,
            asleep.sleep_sessions,
            asleep.monthly_averages,
            asleep.sleep_metrics,
            asleep.night_dates,
            asleep.nights,
            asleep.night_calendar,
            asleep.sleep_stage_epochs,
            asleep.monthly_overview,
            asleep.user_months,
            asleep.data_freshness,
            asleep.changes,
            asleep.session_versions
        TO asleep_analyst;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'asleep_receiver') THEN
        GRANT SELECT ON asleep.night_dates TO asleep_receiver; -- the views are new after each migration
        GRANT SELECT (kind) ON asleep.missing_data TO asleep_receiver;
    END IF;
END
$$;
