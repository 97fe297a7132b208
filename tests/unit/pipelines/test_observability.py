"""Log lines for people."""

import subprocess
import sys

LOG = """
import structlog
from pipelines.observability import LOGGER, set_up_logs
from pipelines.settings import Settings
set_up_logs(Settings(environment="development"))
structlog.get_logger(LOGGER).warning("seen")
"""


def test_lines_in_a_file_have_no_colours():
    """`asleep-sync serve 2> log` wrote the terminal's escape sequences around every word."""
    logged = subprocess.run([sys.executable, "-c", LOG], capture_output=True, text=True, check=True).stderr
    assert "seen" in logged
    assert "\x1b" not in logged
