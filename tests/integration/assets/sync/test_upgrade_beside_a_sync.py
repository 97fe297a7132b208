"""An upgrade of the schema while a sync is at work."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from resources.database import migrate as module
from resources.database.migrate import migrate, newest_revision

COLUMN = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "9001", "{head}"

def upgrade():
    op.add_column("sleep_sessions", sa.Column("note", sa.Text()), schema="asleep")
"""
INDEX = """
from alembic import op
revision, down_revision = "9002", "9001"
IN_TRANSACTION = False

def upgrade():
    op.create_index(
        "completed_idx", "sleep_sessions", ["completed_time"], schema="asleep", postgresql_concurrently=True
    )
"""


def test_a_sync_under_way_misses_nothing(world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A first sync takes days: a release in its midst must neither stop it nor lose a row."""
    for _ in range(4):
        world.add_user(nights=25)
    (tmp_path / "9001.py").write_text(COLUMN.format(head=newest_revision()))
    (tmp_path / "9002.py").write_text(INDEX)
    monkeypatch.setattr(module, "VERSIONS", (*module.VERSIONS, tmp_path))
    newest_revision.cache_clear()
    try:
        with ThreadPoolExecutor(1) as pool:
            sync = pool.submit(world.sync, rate=30)
            while not world.api.requests().get("read_session"):
                assert not sync.done()
            assert migrate(world.engine)[1] == "9002"
            assert sync.result(120)["sessions_inserted"] == 100
    finally:
        newest_revision.cache_clear()
    assert world.wrong() == []
    with world.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM asleep.sleep_sessions WHERE note IS NULL")) == 100
