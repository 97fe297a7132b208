"""Compare the tables with what the API would answer, field by field: an independent reading of the truth.

Does not belong here: the product's parsing and shaping; none of it is used.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import Engine, text

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
TIMES = {"session_start_time", "session_end_time", "unexpected_end_time", "sleep_time", "wake_time"}
STAT_FIELDS = (
    "sleep_time wake_time sleep_index sleep_latency wakeup_latency light_latency deep_latency rem_latency time_in_bed "
    "time_in_sleep_period time_in_sleep time_in_wake time_in_light time_in_deep time_in_rem time_in_stable_breath "
    "time_in_unstable_breath time_in_snoring time_in_no_snoring sleep_efficiency sleep_ratio wake_ratio light_ratio "
    "deep_ratio rem_ratio stable_breath_ratio unstable_breath_ratio snoring_ratio no_snoring_ratio breathing_index "
    "breathing_pattern unstable_breath_count waso_count longest_waso sleep_cycle_count sleep_cycle sleep_cycle_time "
    "snoring_count"
).split()


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
    if not found or int(found[2]) > 14:
        return None
    sign = "+" if int(found[2]) == int(found[3] or 0) == 0 else found[1]
    return Zone(f"{sign}{int(found[2]):02}:{found[3] or '00'}", "offset")


def _tzinfo(name: str) -> tzinfo:
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
    """What a row must hold for a session of the truth."""
    result = session["result"]
    row = {column: result["session"][name] for column, name in SESSION_FIELDS.items()}
    stat = result["stat"] or {}
    row |= {name: stat.get(name) for name in STAT_FIELDS}
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
        "contract_violations": _violations(row["created_timezone"]),
        "deleted_at": None,
    }
    clocks = {"session_start_local": "session_start_time", "session_end_local": "session_end_time"}
    clocks |= {"sleep_time_local": "sleep_time", "wake_time_local": "wake_time"}
    for column, source in clocks.items():
        moment = row[source]
        row[column] = moment.astimezone(_tzinfo(zone.name)).replace(tzinfo=None) if moment else None
    row |= {"local_zone": zone.name, "zone_source": zone.source}
    row["local_date"] = row["session_start_local"].date()
    row["local_month"] = row["local_date"].replace(day=1)
    return row


def _violations(created_timezone: str | None) -> list[str]:
    unknown = created_timezone is not None and zone_of_text(created_timezone) is None
    return ["session.created_timezone: unknown time zone"] if unknown else []


class Difference(NamedTuple):
    """One session in which the tables differ from the truth."""

    user_id: str
    session_id: str
    kind: str
    """`missing`, `extra` or `wrong`."""
    what: str


def differences(
    engine: Engine, truth: dict[str, Any], first: date | None = None, last: date | None = None
) -> list[str]:
    """Everything in which the tables differ from the truth, as text; see `all_differences`."""
    return [f"{each.kind}: {each.session_id} {each.what}" for each in all_differences(engine, truth, first, last)]


def all_differences(
    engine: Engine, truth: dict[str, Any], first: date | None = None, last: date | None = None
) -> list[Difference]:
    """Everything in which the tables differ from the truth: rows missing, rows too many, each field.

    Args:
        engine: the database.
        truth: the simulator's, whole.
        first: sessions that started before this UTC day need not be stored (but must be right if they are).
        last: the same for days after this one.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT s.*, p.result FROM asleep.sleep_sessions AS s "
                "LEFT JOIN asleep.session_payloads AS p USING (session_id) WHERE s.deleted_at IS NULL"
            )
        ).mappings()
        stored = {row["session_id"]: row for row in rows}
        registered = dict(connection.execute(text("SELECT user_id, timezone FROM asleep.users")).all())
    wrong: list[Difference] = []
    for user in truth["users"]:
        if user["deleted"]:
            continue
        lenders = [session for session in user["sessions"] if session["result"]["session"]["id"] in stored]
        for session in user["sessions"]:
            zone = zone_of_session(session, lenders, registered.get(user["user_id"]))
            expected = expected_row(session, user["user_id"], zone)
            row = stored.pop(expected["session_id"], None)
            day = expected["session_start_time"].date()
            if row is not None:
                found = _differences_of(row, expected, session)
                wrong.extend(Difference(user["user_id"], expected["session_id"], "wrong", what) for what in found)
            elif (first is None or day >= first) and (last is None or day <= last):
                analysed = "analysed" if session["result"]["stat"] else "not analysed"
                what = f"{expected['state']}, {analysed}, {session['tags']}"
                wrong.append(Difference(user["user_id"], expected["session_id"], "missing", what))
    gone = {user["user_id"] for user in truth["users"] if user["deleted"]}
    for session_id, row in stored.items():
        if row["user_id"] not in gone:
            analysed = "not analysed" if row["time_in_sleep"] is None else "analysed"
            wrong.append(Difference(row["user_id"], session_id, "extra", f"{row['state']}, {analysed}"))
    return wrong


def _differences_of(row: Any, expected: dict[str, Any], session: dict[str, Any]) -> list[str]:
    wrong = [f"{name}: stored {row[name]!r}, true {value!r}" for name, value in expected.items() if row[name] != value]
    if json.dumps(row["result"], sort_keys=True) != json.dumps(session["result"], sort_keys=True):
        wrong.append("the raw result differs")
    return wrong
