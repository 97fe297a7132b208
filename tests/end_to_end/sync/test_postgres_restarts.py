"""Postgres is restarted in the middle of a run: the run goes on or says that it failed, and nothing is lost."""

import pytest

from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.embedded_postgres import server as embedded


@pytest.fixture
def server(tmp_path):
    """A server of this test's own, migrated."""
    try:
        server = embedded.start(tmp_path)
        engine = make_engine(server.url, application_name="tests")
        migrate(engine, other_schemas=("dagster",))
        engine.dispose()
        yield server
    finally:
        embedded.destroy(tmp_path)


@pytest.mark.parametrize(
    "requests", [60, pytest.param(1, marks=pytest.mark.long), pytest.param(120, marks=pytest.mark.long)]
)
def test_a_restart_of_postgres_in_the_middle_of_a_run_loses_nothing(server, deploy, tmp_path, requests):
    """Maintenance happens at night, which is when we sync."""
    deployment = deploy(server.url)
    process = deployment.sync(ASLEEP_REQUESTS_PER_SECOND="100")
    deployment.reach(requests, process)
    assert process.poll() is None
    deployment.engine.dispose()
    embedded.stop(tmp_path)
    assert embedded.start(tmp_path).url == server.url
    said = "".join(process.communicate(timeout=240))

    assert all(wrong.startswith("missing: ") for wrong in deployment.wrong())
    if process.returncode == 0:
        assert deployment.wrong() == []
    else:
        assert process.returncode in (1, 2), said
        assert "database" in said
    code, said = deployment.run()
    assert code == 0, said
    assert deployment.wrong() == []
    assert deployment.missing_data() == []
    assert deployment.queued_averages() == deployment.averages_from_nothing()
