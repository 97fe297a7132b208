"""The database server and the session, as the program needs them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from resources.contract.statements import Findings
from resources.database.session_settings import SETTINGS

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
OLDEST_POSTGRES = 14


def check_database(findings: Findings, connection: Connection) -> None:
    """Check version, encoding, settings, pooler, rights and clock; its schema was checked when it was opened.

    Args:
        findings: takes what is found.
        connection: as the program connects.
    """

    def value(query: str) -> Any:
        return connection.scalar(text(query))

    version = int(value("SHOW server_version_num")) // 10000
    findings.check(f"database: Postgres {OLDEST_POSTGRES} or newer", version >= OLDEST_POSTGRES, f"it is {version}")
    encoding = value("SHOW server_encoding")
    findings.check("database: its schema is this program's", True)
    findings.check("database: encoding UTF8", encoding == "UTF8", f"it is {encoding}")
    processes = set()
    for _ in range(2):
        processes.add(value("SELECT pg_backend_pid()"))
        connection.rollback()
    changed = [name for name, wanted in SETTINGS.items() if value(f"SHOW {name}") != wanted]
    findings.check("database: sessions keep search path, time zone and other settings", not changed, ", ".join(changed))
    findings.check(
        "database: a session stays with one process", len(processes) == 1, "a connection pooler in transaction mode"
    )
    may_write = value("SELECT has_table_privilege('asleep.sleep_sessions', 'INSERT, UPDATE')")
    findings.check("database: this login may write sessions", bool(may_write), "deploy/postgres/roles.sql grants it")
    difference = abs(value("SELECT clock_timestamp()") - datetime.now(UTC))
    findings.check(
        f"database: its clock is within {MAX_CLOCK_DIFFERENCE.seconds} s of this machine's",
        difference <= MAX_CLOCK_DIFFERENCE,
        f"they differ by {difference.total_seconds():.0f} s",
    )
