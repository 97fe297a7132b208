"""Frozen records of the API's responses, with checked types.

A violation is one deviation from the contract that was survived, such as `stat.sleep_index: not a number`. It names the
field and the kind of deviation, never the value, which may be health data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import NamedTuple

from resources.asleep.errors import Malformed

COMPLETE = "COMPLETE"
"""The only state in which a session is finished; every other one, known or not, is read again."""

STATES = frozenset({"OPEN", "CLOSED", COMPLETE})

UNKNOWN_STATE = "UNKNOWN"
"""Stands for a state that is missing or not even text."""

PECULIARITIES = frozenset(
    {
        "IN_PROGRESS",
        "NO_REALTIME_POLLING",
        "TOO_SHORT_FOR_ANALYSIS",
        "TOO_MANY_DEFECTS_IN_SLEEP_STAGES",
        "NEVER_SLEPT",
        "TOO_LONG_FOR_ANALYSIS",
        "NO_BREATHING_STABILITY",
    }
)


class Stat(NamedTuple):
    """The 38 statistics of a session, under the API's names and in the contract's order.

    Durations and latencies are whole seconds, `sleep_cycle` may have a fraction; ratios and `sleep_efficiency` are 0
    to 1.
    """

    sleep_time: datetime | None = None
    wake_time: datetime | None = None
    sleep_index: int | None = None
    sleep_latency: int | None = None
    wakeup_latency: int | None = None
    light_latency: int | None = None
    deep_latency: int | None = None
    rem_latency: int | None = None
    time_in_bed: int | None = None
    time_in_sleep_period: int | None = None
    time_in_sleep: int | None = None
    time_in_wake: int | None = None
    time_in_light: int | None = None
    time_in_deep: int | None = None
    time_in_rem: int | None = None
    time_in_snoring: int | None = None
    time_in_no_snoring: int | None = None
    time_in_stable_breath: int | None = None
    time_in_unstable_breath: int | None = None
    sleep_efficiency: float | None = None
    sleep_ratio: float | None = None
    wake_ratio: float | None = None
    light_ratio: float | None = None
    deep_ratio: float | None = None
    rem_ratio: float | None = None
    snoring_ratio: float | None = None
    no_snoring_ratio: float | None = None
    stable_breath_ratio: float | None = None
    unstable_breath_ratio: float | None = None
    breathing_index: float | None = None
    breathing_pattern: str | None = None
    unstable_breath_count: int | None = None
    waso_count: int | None = None
    longest_waso: int | None = None
    sleep_cycle_count: int | None = None
    sleep_cycle: float | None = None
    sleep_cycle_time: list[datetime] | None = None
    snoring_count: int | None = None


STAT_FIELDS: tuple[str, ...] = Stat._fields


@dataclass(frozen=True, slots=True)
class ListedSession:
    """One row of a user's list of sessions."""

    session_id: str
    state: str
    """As received, or `UNKNOWN` when it was missing or not text."""
    session_start_time: datetime | None
    """None when it cannot be read; the session in full may have it."""
    session_end_time: datetime | None = None
    unexpected_end_time: datetime | None = None
    created_timezone: str | None = None
    last_received_seq_num: int | None = None
    time_in_bed: int | None = None
    contract_violations: tuple[str, ...] = ()
    problem: Malformed | None = None
    """Why not even the id could be read; `session_id` then only distinguishes the row from others."""


@dataclass(frozen=True, slots=True)
class SessionList:
    """All sessions of one user in a range of days, read until it stood still."""

    rows: tuple[ListedSession, ...]
    """By start time, each session once; those without one last."""
    requests: int
    """Pages requested, with repeated reads, without repeated attempts at one page."""
    last_page_rows: int = 0
    """Rows of the page taken for the last one by its length alone; 0 when a request showed that none follow."""
    last_session_id: str = ""
    """Of the last row of the last page, whatever its start."""


@dataclass(frozen=True, slots=True)
class SleepSession:
    """One session in full."""

    session_id: str
    user_id: str
    state: str
    session_start_time: datetime
    session_end_time: datetime | None
    unexpected_end_time: datetime | None
    created_timezone: str | None
    peculiarities: tuple[str, ...] | None
    missing_data_ratio: float | None
    stat: Stat | None
    sleep_stages: list[int] | None
    breath_stages: list[int] | None
    snoring_stages: list[int] | None
    raw: bytes
    """The `result` object as JSON in UTF-8, keys sorted, without the `user_id` that webhooks add."""
    payload_hash: bytes
    """16 bytes over `raw`: equal results have equal hashes, whatever the order of their fields."""
    contract_violations: tuple[str, ...]
    asked_at: datetime
    """When the permit for the request was granted, by the clock that all processes share: the later record counts."""


@dataclass(frozen=True, slots=True)
class SleptSession:
    """A session with sleep, as the averages list it: statistics without stages."""

    session_id: str
    created_timezone: str | None
    session_start_time: datetime
    session_end_time: datetime | None
    completed_time: datetime | None
    """When it was analysed; the only sign that a finished session was analysed again."""
    stat: Stat
    contract_violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NeverSleptSession:
    """A session in which no sleep was found, as the averages list it."""

    session_id: str
    session_start_time: datetime
    session_end_time: datetime | None
    completed_time: datetime | None
    contract_violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AverageStats:
    """The API's own averages of one user over a period, and the sessions they were made from."""

    timezone: str | None
    averages: Mapping[str, float | time | None] | None
    """By the API's names; `start_time`, `end_time`, `sleep_time` and `wake_time` are clock times."""
    slept: tuple[SleptSession, ...]
    never_slept: tuple[NeverSleptSession, ...]
    asked_at: datetime
    contract_violations: tuple[str, ...] = ()
    problems: tuple[Malformed, ...] = ()
    """Sessions among them without a readable id or start."""


@dataclass(frozen=True, slots=True)
class UserProfile:
    """A user. Metadata (birth, gender, height, weight) and the last session are not kept."""

    user_id: str
    to_be_deleted: bool
    contract_violations: tuple[str, ...] = ()
