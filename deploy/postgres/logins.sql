-- The logins of a new server, with passwords from the environment; the Postgres container runs this file once, when it
-- creates the database. On your own server: psql -v ON_ERROR_STOP=1 -f deploy/postgres/logins.sql "$ADMIN_URL"
-- with the three variables set, connected to the new database. Then `asleep-sync migrate` as owner, then roles.sql.
\getenv owner_password OWNER_PASSWORD
\getenv pipeline_password PIPELINE_PASSWORD
\getenv receiver_password RECEIVER_PASSWORD

CREATE ROLE asleep_pipeline NOLOGIN;
CREATE ROLE asleep_receiver NOLOGIN;
CREATE ROLE asleep_analyst NOLOGIN;
CREATE ROLE asleep_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE pipeline_1 LOGIN PASSWORD :'pipeline_password' IN ROLE asleep_pipeline;
ALTER ROLE pipeline_1 SET role = asleep_pipeline;
CREATE ROLE receiver_1 LOGIN PASSWORD :'receiver_password' IN ROLE asleep_receiver;
SELECT format('ALTER DATABASE %I OWNER TO asleep_owner', current_database()) \gexec
