"""The database server and the session, as the program needs them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from resources.contract.statements import Findings

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
OLDEST_POSTGRES = 14
_CHECKED_ON_OPENING = (
    "its schema is this program's",
    "encoding UTF8",
    "sessions keep search path, time zone and other settings",
    "a session stays with one process",
)
"""A database that contradicts one of these is refused by the connection itself."""


def check_database(findings: Findings, connection: Connection) -> None:
    """Check version, rights and clock; the rest was checked when the connection was opened.

    Args:
        findings: takes what is found.
        connection: as the program connects.
    """

    def value(query: str) -> Any:
        return connection.scalar(text(query))

    version = int(value("SHOW server_version_num")) // 10000
    findings.check(f"database: Postgres {OLDEST_POSTGRES} or newer", version >= OLDEST_POSTGRES, f"it is {version}")
    for statement in _CHECKED_ON_OPENING:
        findings.check(f"database: {statement}", True)
    may_write = value("SELECT has_table_privilege('asleep.sleep_sessions', 'INSERT, UPDATE')")
    findings.check("database: this login may write sessions", bool(may_write), "deploy/postgres/roles.sql grants it")
    difference = abs(value("SELECT clock_timestamp()") - datetime.now(UTC))
    findings.check(
        f"database: its clock is within {MAX_CLOCK_DIFFERENCE.seconds} s of this machine's",
        difference <= MAX_CLOCK_DIFFERENCE,
        f"they differ by {difference.total_seconds():.0f} s",
    )
