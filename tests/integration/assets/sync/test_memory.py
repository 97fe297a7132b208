"""Memory does not grow with the number of users: a batch in hand, no more."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

MEASURED = """
import sys
from pathlib import Path
from datetime import date
from tests.integration.assets.sync.conftest import Syncing
from resources.database.engine import make_engine

engine = make_engine(sys.argv[1], application_name="tests")
batches = int(sys.argv[3])
for number in range(batches):
    Syncing(engine, sys.argv[2])(date(2026, 10, 20), date(2026, 11, 22), number=number, of=batches)
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""


def _peak_mebibytes(world, batches):
    url = world.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", MEASURED, url, world.api.url, str(batches)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_thousand_users_need_no_more_memory_than_two_hundred(new_world):
    """Half a gibibyte for a year of an organisation is a machine more to pay."""
    peaks = []
    for users in (200, 2000):
        world = new_world("--users", str(users), "--sessions-per-user", "30")
        peaks.append(_peak_mebibytes(world, batches=users // 200))
        [(stored,)] = world.rows("SELECT count(*) FROM asleep.sleep_sessions")
        assert stored == users * 30
    assert peaks[1] < 300, peaks
    assert peaks[1] < peaks[0] * 1.25, peaks
