"""The database server and the session, as the program needs them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from resources.contract.findings import Findings

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
OLDEST_POSTGRES = 14


def check_database(findings: Findings, connection: Connection) -> None:
    """Check version, encoding, time zone, rights and clock.

    Args:
        findings: takes what is found.
        connection: as the program connects.
    """

    def value(query: str) -> Any:
        return connection.scalar(text(query))

    version = int(value("SHOW server_version_num")) // 10000
    findings.check(f"database: Postgres {OLDEST_POSTGRES} or newer", version >= OLDEST_POSTGRES, f"it is {version}")
    encoding = value("SHOW server_encoding")
    findings.check("database: encoding UTF8", encoding == "UTF8", f"it is {encoding}")
    zone = value("SHOW TimeZone")
    findings.check("database: sessions have time zone UTC", zone in {"UTC", "Etc/UTC"}, "it is another")
    may_write = value("SELECT has_table_privilege('asleep.sleep_sessions', 'INSERT, UPDATE')")
    findings.check("database: this login may write sessions", bool(may_write), "deploy/postgres/roles.sql grants it")
    difference = abs(value("SELECT clock_timestamp()") - datetime.now(UTC))
    findings.check(
        f"database: its clock is within {MAX_CLOCK_DIFFERENCE.seconds} s of this machine's",
        difference <= MAX_CLOCK_DIFFERENCE,
        f"they differ by {difference.total_seconds():.0f} s",
    )
