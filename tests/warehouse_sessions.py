"""Sessions with defaults for the tests of tables and views, stored as the sync stores them."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from assets.sync.session_rows import session_row
from resources.asleep.records import SleepSession, Stat
from resources.database.sync.upsert import upsert_sessions

LATER = datetime(2027, 1, 1, tzinfo=UTC)


def slept(**given: Any) -> Stat:
    """Statistics of an ordinary night of eight hours, but for what is given."""
    return Stat(
        **{
            "sleep_index": 80, "sleep_latency": 600, "wakeup_latency": 300, "light_latency": 0, "deep_latency": 900,
            "rem_latency": 4200, "time_in_bed": 28800, "time_in_sleep_period": 27900, "time_in_sleep": 26400,
            "time_in_wake": 1500, "time_in_light": 14400, "time_in_deep": 6000, "time_in_rem": 6000,
            "time_in_snoring": 900, "time_in_no_snoring": 27000, "sleep_efficiency": 0.92, "waso_count": 4,
            "longest_waso": 600, "sleep_cycle_count": 5, "sleep_cycle": 5400, "snoring_count": 3,
        }
        | given
    )  # fmt: skip


def session(
    user_id: str, start: datetime, stat: Stat | None = None, zone: str | None = "Asia/Seoul", **given: Any
) -> SleepSession:
    """A finished session of eight hours, but for what is given."""
    end = given.pop("session_end_time", start + timedelta(hours=8))
    session_id = given.pop("session_id", f"{start:%Y%m%d%H%M%S}_{hashlib.sha256(user_id.encode()).hexdigest()[:5]}")
    raw = repr((session_id, start, end, stat, sorted(given.items()))).encode()
    values: dict[str, Any] = {
        "state": "COMPLETE", "unexpected_end_time": None, "peculiarities": ("NO_BREATHING_STABILITY",),
        "missing_data_ratio": 0.0, "sleep_stages": None, "breath_stages": None, "snoring_stages": None,
        "contract_violations": (), "asked_at": LATER,
    }  # fmt: skip
    return SleepSession(
        session_id=session_id, user_id=user_id, session_start_time=start, session_end_time=end, stat=stat,
        created_timezone=zone, raw=b'"made"', payload_hash=hashlib.sha256(raw).digest()[:16], **(values | given),
    )  # fmt: skip


def store(connection: Connection, sessions: Iterable[SleepSession]) -> None:
    """Write sessions as the sync does, in the connection's transaction."""
    upsert_sessions(connection, [session_row(each) for each in sessions])
