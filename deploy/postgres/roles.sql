-- Least-privilege roles for the programs of asleep-sync. Run as an administrator, after `asleep-sync migrate`, and again
-- after every upgrade: psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql "$ADMIN_DATABASE_URL"
-- On a new server also run it once before a restore, to create the roles.
--
--   asleep_pipeline   Dagster, `asleep-sync sync`, `forget`: reads and writes all tables, can only add to the record of
--                     erasures, and cannot change the schema
--   asleep_receiver   `asleep-sync serve`: inserts events, reads the data of the read API, sends notifications
--   asleep_analyst    people and BI tools: created by the migration, listed here for completeness
--
-- Migrations run as the schema's owner, who needs no access at any other time. Each program has its own login:
--   CREATE ROLE receiver_1 LOGIN PASSWORD '…' IN ROLE asleep_receiver;
--   CREATE ROLE pipeline_1 LOGIN PASSWORD '…' IN ROLE asleep_pipeline;
--   ALTER ROLE pipeline_1 SET role = asleep_pipeline;   -- tables that it creates belong to the group
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['asleep_pipeline', 'asleep_receiver', 'asleep_analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    -- Before the first migration or a restore, only create the roles: there is nothing to grant yet.
    IF to_regnamespace('asleep') IS NULL THEN
        RETURN;
    END IF;

    GRANT USAGE ON SCHEMA asleep TO asleep_pipeline, asleep_receiver;
    REVOKE ALL ON ALL TABLES IN SCHEMA asleep FROM asleep_pipeline, asleep_receiver;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA asleep FROM asleep_pipeline, asleep_receiver;

    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA asleep TO asleep_pipeline;
    REVOKE INSERT, UPDATE, DELETE ON asleep.alembic_version FROM asleep_pipeline;
    REVOKE UPDATE, DELETE ON asleep.erasures FROM asleep_pipeline;
    REVOKE INSERT, UPDATE, DELETE ON asleep.pseudonym_key FROM asleep_pipeline;
    GRANT EXECUTE ON FUNCTION asleep.pseudonym(text) TO asleep_pipeline, asleep_receiver;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA asleep TO asleep_pipeline;

    -- Dagster keeps its own tables next to ours and changes their structure itself. The group owns them, regardless of
    -- the login that created them, so that logins can be replaced.
    IF to_regnamespace('dagster') IS NOT NULL THEN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'dagster' AND tableowner <> 'asleep_pipeline' LOOP
            BEGIN
                EXECUTE format('ALTER TABLE dagster.%I OWNER TO asleep_pipeline', name);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'dagster.% keeps its owner: let an administrator run this file', name;
            END;
        END LOOP;
        GRANT USAGE, CREATE ON SCHEMA dagster TO asleep_pipeline;
        GRANT ALL ON ALL TABLES IN SCHEMA dagster TO asleep_pipeline;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA dagster TO asleep_pipeline;
    END IF;

    -- The receiver can insert events and check whether they arrived before; it cannot read their bodies.
    GRANT INSERT ON asleep.webhook_events TO asleep_receiver;
    GRANT SELECT (event_id, body_hash, received_at, processed_at, attempts, next_attempt_at, error)
        ON asleep.webhook_events TO asleep_receiver;
    GRANT SELECT, INSERT, UPDATE ON asleep.service_limits TO asleep_receiver;
    GRANT SELECT, UPDATE, DELETE ON asleep.notifications TO asleep_receiver;
    GRANT SELECT, INSERT, DELETE ON asleep.notification_switch TO asleep_receiver;
    GRANT SELECT ON
        asleep.alembic_version,
        asleep.users,
        asleep.sleep_sessions,
        asleep.monthly_averages,
        asleep.night_dates,
        asleep.stale_months,
        asleep.rate_limits
    TO asleep_receiver;
    GRANT SELECT (kind) ON asleep.missing_data TO asleep_receiver;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA asleep TO asleep_receiver;
END
$$;

-- The server's log of this database contains no values: no statements, and no errors, whose text may quote a row.
-- The programs log each error by its kind. Only a superuser may set this; on a managed server set the same in its
-- parameter group.
DO $$
DECLARE
    setting text;
BEGIN
    FOREACH setting IN ARRAY ARRAY[
        'log_min_messages = log',
        'log_min_error_statement = panic',
        'log_error_verbosity = terse',
        'log_statement = none',
        'log_min_duration_statement = -1',
        'log_parameter_max_length = 0',
        'log_parameter_max_length_on_error = 0'
    ] LOOP
        BEGIN
            EXECUTE format('ALTER DATABASE %I SET ', current_database()) || setting;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE WARNING 'The server may log ids and bodies of events: let a superuser set % for this database', setting;
        END;
    END LOOP;
END
$$;

-- Time-outs of every login, because members do not inherit a group's settings: run this file again after creating one.
DO $$
DECLARE
    login record;
    setting text;
BEGIN
    FOR login IN
        SELECT member.rolname AS name, limits.settings
        FROM (
            VALUES
                ('asleep_pipeline', ARRAY['statement_timeout = ''30min''', 'lock_timeout = ''1min''']),
                ('asleep_receiver', ARRAY['statement_timeout = ''15s''', 'lock_timeout = ''5s''']),
                ('asleep_analyst', ARRAY['statement_timeout = ''10min''', 'lock_timeout = ''10s'''])
        ) AS limits (role_name, settings)
        INNER JOIN pg_roles AS grp ON grp.rolname = limits.role_name
        INNER JOIN pg_auth_members AS membership ON membership.roleid = grp.oid
        INNER JOIN pg_roles AS member ON member.oid = membership.member AND member.rolcanlogin AND NOT member.rolsuper
    LOOP
        FOREACH setting IN ARRAY array_append(login.settings, 'idle_in_transaction_session_timeout = ''5min''') LOOP
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET ', login.name, current_database()) || setting;
        END LOOP;
    END LOOP;
END
$$;
