"""What the tables of a mirror must hold for the sessions of the truth: typed, in UTC, with local times.

An independent reading of the mirror's rules; the mirror's own code is not used.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from simulator.fields import FIELDS

SESSION_FIELDS = {
    "state": "state",
    "session_start_time": "start_time",
    "session_end_time": "end_time",
    "unexpected_end_time": "unexpected_end_time",
    "created_timezone": "created_timezone",
    "sleep_stages": "sleep_stages",
    "breath_stages": "breath_stages",
    "snoring_stages": "snoring_stages",
}
LARGEST_RATIO = 1.5
MAX_OFFSET_HOURS = 14
TIMES = {"session_start_time", "session_end_time", "unexpected_end_time", "sleep_time", "wake_time"}


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


class Zone(NamedTuple):
    """A zone by name, and where it comes from."""

    name: str
    source: str


_NAMES = {re.sub(r"\s|_", "", name).lower(): name for name in available_timezones() - {"localtime", "Factory"}}
_HOURS = re.compile(r"(?:gmt|utc)?([+-])([0-9]{1,2}?):?([0-9]{2})?")


def zone_of_text(text: str | None) -> Zone | None:
    """The zone that a phone's text names: a name of the zone database, or a fixed offset."""
    key = re.sub(r"\s|_", "", text or "").lower()
    if key in _NAMES:
        return Zone(_NAMES[key], "own")
    found = _HOURS.fullmatch(key)
    if not found or int(found[2]) > MAX_OFFSET_HOURS:
        return None
    sign = "+" if int(found[2]) == int(found[3] or 0) == 0 else found[1]
    return Zone(f"{sign}{int(found[2]):02}:{found[3] or '00'}", "offset")


def tzinfo_of(name: str) -> tzinfo:
    """The zone of a name of the zone database or of an offset as `+09:00`."""
    if name[0] not in "+-":
        return ZoneInfo(name)
    size = timedelta(hours=int(name[1:3]), minutes=int(name[4:]))
    return timezone(size if name[0] == "+" else -size)


def zone_of_session(session: dict[str, Any], stored: Sequence[dict[str, Any]], registered: str | None) -> Zone:
    """The zone by which a session's local times count.

    Args:
        session: of the truth.
        stored: sessions of the same user, of the truth, that the tables hold.
        registered: the user's zone in the registry.
    """

    def place(each: dict[str, Any]) -> tuple[datetime, str]:
        return datetime.fromisoformat(each["result"]["session"]["start_time"]), each["result"]["session"]["id"]

    def zone(each: dict[str, Any]) -> Zone | None:
        return zone_of_text(each["result"]["session"]["created_timezone"])

    if own := zone(session):
        return own
    lenders = sorted((place(each), found.name) for each in stored if (found := zone(each)))
    if earlier := [name for at, name in lenders if at < place(session)]:
        return Zone(earlier[-1], "earlier")
    if lenders:
        return Zone(lenders[0][1], "later")
    fallback = zone_of_text(registered)
    return Zone(fallback.name, "registered") if fallback else Zone("UTC", "utc")


def expected_row(session: dict[str, Any], user_id: str, zone: Zone) -> dict[str, Any]:
    """What a row must hold for a session of the truth.

    Args:
        session: the session.
        user_id: the user's id.
        zone: time zone of the timestamps.
    """
    result = session["result"]
    row = {column: result["session"][name] for column, name in SESSION_FIELDS.items()}
    stat = result["stat"] or {}
    row |= {name: stat.get(name) for name in FIELDS}
    for name in TIMES:
        row[name] = _moment(row[name])
    if row["sleep_cycle_time"] is not None:
        row["sleep_cycle_time"] = [_moment(value) for value in row["sleep_cycle_time"]]
    row |= {
        "session_id": result["session"]["id"],
        "user_id": user_id,
        "peculiarities": result["peculiarities"],
        "missing_data_ratio": result["missing_data_ratio"],
        "last_received_seq_num": session["row"]["last_received_seq_num"],
        "contract_violations": [],
        "deleted_at": None,
    }
    if zone_of_text(row["created_timezone"]) is None and row["created_timezone"] is not None:
        row["contract_violations"].append("session.created_timezone: unknown time zone")
    if (efficiency := row["sleep_efficiency"]) is not None and efficiency > LARGEST_RATIO:
        row["sleep_efficiency"] = round(efficiency / 100, 12)
        row["contract_violations"].append("stat.sleep_efficiency: a percentage, divided by 100")
    clocks = {"session_start_local": "session_start_time", "session_end_local": "session_end_time"}
    clocks |= {"sleep_time_local": "sleep_time", "wake_time_local": "wake_time"}
    for column, source in clocks.items():
        moment = row[source]
        row[column] = moment.astimezone(tzinfo_of(zone.name)).replace(tzinfo=None) if moment else None
    row |= {"local_zone": zone.name, "zone_source": zone.source}
    row["local_date"] = row["session_start_local"].date()
    row["local_month"] = row["local_date"].replace(day=1)
    return row


def expected_rows(user: dict[str, Any], registered: str | None) -> list[dict[str, Any]]:
    """The rows of one user of the truth, when the tables hold exactly the sessions given.

    Args:
        user: as `GET /_simulator/truth` shows it.
        registered: the user's zone in the registry.
    """
    sessions = user["sessions"]
    return [
        expected_row(session, user["user_id"], zone_of_session(session, sessions, registered)) for session in sessions
    ]
