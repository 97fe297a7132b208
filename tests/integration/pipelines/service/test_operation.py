"""What the operator's pages promise, done for real: roles, and an upgrade with data in the tables."""

import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from serving import KEY, READ_KEY, Service, await_truth, served
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.embedded_postgres import server as embedded
from resources.embedded_postgres.home import find_home

ROOT = Path(__file__).resolve().parents[4]
PASSWORD = "made-up"  # noqa: S105 of roles that live as long as this test


@pytest.fixture(scope="module")
def administrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A migrated server of one's own, whose roles nobody else sees, as its administrator."""
    directory = tmp_path_factory.mktemp("roles")
    try:
        server = embedded.start(directory)
        owner = make_engine(server.url, application_name="tests")
        migrate(owner, other_schemas=("dagster",))
        owner.dispose()
        home = find_home(directory)
        assert home is not None
        url = make_engine(server.url, application_name="tests").url
        engine = create_engine(url.set(username="postgres", password=home.password_of("postgres")))
        yield engine
        engine.dispose()
    finally:
        embedded.destroy(directory)


@pytest.fixture(scope="module")
def log_in(administrator: Engine) -> Callable[[str], str]:
    """The URL of a new login that is a member of a role only."""
    with administrator.begin() as connection:
        for _ in range(2):
            run_roles(connection)

    def make(role: str) -> str:
        with administrator.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE person_{role} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role}")
        url = administrator.url.set(username=f"person_{role}", password=PASSWORD)
        return url.render_as_string(hide_password=False)

    return make


def run_roles(connection: Connection) -> None:
    connection.exec_driver_sql((ROOT / "deploy/postgres/roles.sql").read_text("utf-8").replace("%", "%%"))


def is_refused(engine: Engine, statement: str) -> bool:
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except ProgrammingError as error:
        return "permission denied" in str(error)
    return False


def test_the_receiver_needs_no_more_than_its_role(
    serve_app: Callable[..., Service], log_in: Callable[[str], str], administrator: Engine
):
    """The program that faces the internet can neither read events back nor change a session."""
    url = log_in("asleep_receiver")
    with administrator.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-1', 'import')"))
    options = served(
        url,
        api_keys=(KEY,),
        service_api_keys=(READ_KEY,),
        notify_url="http://127.0.0.1:9/",
        notify_secret="secret",  # noqa: S106 a made-up one
    )
    service = serve_app(options)
    assert service.event(b'{"n": 1}').json() == {"status": "stored"}
    assert service.event(b'{"n": 1}').json() == {"status": "duplicate"}
    assert service.get("/api/users/G-1/sessions", READ_KEY).status_code == 200
    assert service.get("/api/users/G-1/summary", READ_KEY).status_code == 200
    assert service.get("/api/sessions/unknown", READ_KEY).status_code == 404
    assert service.get("/ready").status_code == 200
    assert service.get("/health").status_code == 200
    engine = make_engine(url, application_name="tests")
    for statement in (
        "SELECT body FROM asleep.webhook_events",
        "SELECT result FROM asleep.session_payloads",
        "SELECT inner_block FROM asleep.pseudonym_key",
        "UPDATE asleep.webhook_events SET processed_at = now()",
        "DELETE FROM asleep.sleep_sessions",
        "INSERT INTO asleep.users (user_id, source) VALUES ('G-2', 'import')",
        "CREATE TABLE asleep.mine (id int)",
    ):
        assert is_refused(engine, statement), statement
    engine.dispose()


def test_the_pipeline_changes_rows_but_no_structure(log_in: Callable[[str], str]):
    """A stolen pipeline password cannot drop a table."""
    engine = make_engine(log_in("asleep_pipeline"), application_name="tests")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-3', 'import')"))
        connection.execute(text("UPDATE asleep.webhook_events SET processed_at = now()"))
        connection.execute(text("CREATE TABLE dagster.made_by_dagster (id int)"))
    for statement in (
        "DROP TABLE asleep.users",
        "CREATE TABLE asleep.mine (id int)",
        "DELETE FROM asleep.alembic_version",
        "UPDATE asleep.erasures SET reason = 'gone'",
        "DELETE FROM asleep.erasures",
    ):
        with pytest.raises(ProgrammingError), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()


def test_each_login_has_time_outs_and_the_server_logs_no_values(administrator: Engine, log_in: Callable[[str], str]):
    """One statement that hangs must not hold locks for ever; a log line must not hold a night."""
    urls = {role: make_engine(log_in(role), application_name="tests").url for role in ("asleep_analyst",)}
    with administrator.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE timed_1 LOGIN PASSWORD '{PASSWORD}' IN ROLE asleep_receiver")
        run_roles(connection)
    expected = {"statement_timeout": "10min", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "5min"}
    for url, values in (
        (urls["asleep_analyst"], expected),
        (
            administrator.url.set(username="timed_1", password=PASSWORD),
            {"statement_timeout": "15s", "lock_timeout": "5s"},
        ),
    ):
        engine = create_engine(url)
        with engine.connect() as connection:
            for name, value in (values | {"log_min_error_statement": "panic", "log_error_verbosity": "terse"}).items():
                assert connection.scalar(text(f"SHOW {name}")) == value
            source = "SELECT DISTINCT source FROM pg_settings WHERE name IN ('log_statement', 'log_error_verbosity')"
            assert connection.scalars(text(source)).all() == ["database"]
        engine.dispose()


@pytest.mark.usefixtures("log_in")
def test_logins_of_the_pipeline_come_and_go(administrator: Engine):
    """What Dagster made belongs to the group: by the login's own setting, or once `roles.sql` ran again."""
    with administrator.begin() as connection:
        for name in ("early_1", "pipeline_1"):
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE asleep_pipeline")
        connection.exec_driver_sql("ALTER ROLE pipeline_1 SET role = asleep_pipeline")
        connection.exec_driver_sql(f"CREATE ROLE backup_1 LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data")

    def act(name: str, statement: str) -> None:
        engine = create_engine(administrator.url.set(username=name, password=PASSWORD))
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    act("early_1", "CREATE TABLE dagster.made_early (id serial PRIMARY KEY)")
    act("pipeline_1", "CREATE TABLE dagster.made_late (id serial PRIMARY KEY)")
    with pytest.raises(ProgrammingError, match="permission denied"):
        act("pipeline_1", "SELECT * FROM dagster.made_early")
    with administrator.begin() as connection:
        connection.exec_driver_sql("DROP ROLE pipeline_1")
        run_roles(connection)
        connection.exec_driver_sql("DROP ROLE early_1")
    act("backup_1", "LOCK TABLE dagster.made_early, dagster.made_late, asleep.users IN ACCESS SHARE MODE")


def test_roles_can_be_made_before_there_is_a_schema(administrator: Engine):
    """The first step of a restore: the dump's grants name the roles."""
    with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE empty"))
    engine = create_engine(administrator.url.set(database="empty"))
    with engine.begin() as connection:
        run_roles(connection)
        found = connection.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'asleep\\_%'"))
    engine.dispose()
    assert found == 3


def test_an_upgrade_from_the_first_schema_keeps_the_data(administrator: Engine):
    """Tables full of nights come through, and the new triggers work on them."""
    with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE older"))
    engine = create_engine(administrator.url.set(database="older"))
    config = Config()
    config.set_main_option("script_location", str(files("resources.database") / "migrations"))
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA asleep"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        connection.execute(
            text(
                "INSERT INTO asleep.sleep_sessions (session_id, user_id, state, session_start_time, local_date, "
                "local_month, session_start_local, fetched_at) "
                "SELECT 's' || n, 'G-1', 'OPEN', now(), d, date_trunc('month', d), d, now() "
                "FROM generate_series(1, 1000) AS n, LATERAL (SELECT now()::date AS d) AS day"
            )
        )
    assert migrate(engine)[0] == "0010"
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.notification_switch (since) VALUES ('epoch')"))
        connection.execute(text("UPDATE asleep.sleep_sessions SET state = 'COMPLETE', payload_hash = ''"))
        assert connection.scalar(text("SELECT count(*) FROM asleep.sleep_sessions")) == 1000
        assert connection.scalar(text("SELECT count(*) FROM asleep.notifications")) == 1000
    engine.dispose()


def test_every_metric_on_the_dashboard_is_described_and_sent():
    """A panel of a metric that nobody sends is empty for ever."""
    dashboard = (ROOT / "deploy/grafana/asleep-sync.json").read_text("utf-8")
    page = (ROOT / "docs/reference/logs-and-metrics.md").read_text("utf-8")
    described = {row[1].strip(" `"): row[2].strip(" `") for row in rows_of(page) if "asleep_sync." in row[1]}
    assert all(prometheus == statsd.replace(".", "_") for statsd, prometheus in described.items())
    shown = {
        name for panel in json.loads(dashboard)["panels"] for target in panel["targets"]
        for name in re.findall(r"asleep_sync_\w+", target["expr"])
    }  # fmt: skip
    assert shown == set(described.values())


def test_the_service_sends_what_the_page_describes(serve_app: Callable[..., Service], database_url: str):
    """Names are a contract with whoever built alerts on them."""
    told: list[str] = []

    class Heard:
        def increment(self, metric: str, *_: object) -> None:
            told.append(metric)

        timing = gauge = increment

    options = served(
        database_url,
        api_keys=(KEY,),
        notify_url="http://127.0.0.1:9/",
        notify_secret="secret",  # noqa: S106 a made-up one
        statsd=Heard(),
    )
    assert serve_app(options).get("/health").status_code == 200
    page = (ROOT / "docs/reference/logs-and-metrics.md").read_text("utf-8")
    await_truth(lambda: "asleep_sync.service.requests" in told)
    assert {"asleep_sync.inbox.parked", "asleep_sync.notifications.parked"} <= set(told)
    assert not {name for name in told if f"`{name}`" not in page}


def rows_of(page: str) -> list[list[str]]:
    return [line.split("|") for line in page.splitlines() if line.startswith("|")]
