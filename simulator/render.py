"""One session in JSON: its list row and its full result."""

import re
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Any

import orjson

from simulator.analysis import Analysis, analysis_of
from simulator.behaviour import Behaviour
from simulator.figures import EPOCH_SECONDS, ONE_SECOND, stamp, stat_of
from simulator.model import (
    IN_PROGRESS,
    INFERENCE_EPOCHS,
    NEVER_SLEPT,
    NO_BREATHING,
    NO_POLLING,
    NO_POLLING_TAG,
    TOO_SHORT,
    WITHOUT_STAT,
    Session,
)

Json = dict[str, Any]
STAMP = re.compile(rb'("\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[+-]\d\d:\d\d"')
STAMP_IN_UTC = re.compile(rb'("\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\+00:00"')


def row_of(session: Session, now: datetime, zone: tzinfo, behaviour: Behaviour) -> Json:
    """The session as `GET /data/v1/sessions` lists it.

    Args:
        session: the session.
        now: the simulated moment.
        zone: time zone of the timestamps.
        behaviour: the choices in force.
    """
    received = session.received(now)
    return {
        "session_id": session.session_id,
        "state": session.state(now),
        "session_start_time": stamp(session.start, zone),
        "session_end_time": _end(session, now, zone),
        "created_timezone": session.zone,
        "unexpected_end_time": _unexpected_end(session, now, zone),
        "last_received_seq_num": received - 1 if received else None,
        "time_in_bed": _time_in_bed(session, now, behaviour),
    }


def row_json(session: Session, now: datetime, zone: tzinfo, behaviour: Behaviour) -> bytes:
    """The list row as JSON; a finished session's row in UTC is made once.

    Args:
        session: the session.
        now: the simulated moment.
        zone: time zone of the timestamps.
        behaviour: the choices in force.
    """
    if zone is not UTC:
        return orjson.dumps(row_of(session, now, zone, behaviour))
    if session.row_json is not None:
        return session.row_json
    row = orjson.dumps(row_of(session, now, zone, behaviour))
    if session.state(now) == "COMPLETE":
        session.row_json = row
    return row


def result_of(session: Session, now: datetime, zone_name: str, zone: tzinfo, behaviour: Behaviour) -> Json:
    """The session as `GET /data/v3/sessions/{id}` shows it. Stage tracks are ready-made JSON fragments.

    Args:
        session: the session.
        now: the simulated moment.
        zone_name: as the response names the zone.
        zone: time zone of the timestamps.
        behaviour: the choices in force.
    """
    complete = session.state(now) == "COMPLETE"
    analysis = visible_analysis(session, now)
    finding = finding_of(session, analysis)
    without_stat = finding in WITHOUT_STAT or (finding == NEVER_SLEPT and behaviour.never_slept_stat == "null")
    stat = None
    if complete and session.end and analysis and not without_stat:
        stat = shown_stat(session, analysis, zone, behaviour)
    return {
        "timezone": zone_name,
        "peculiarities": _peculiarities(session, finding, complete=complete),
        "missing_data_ratio": _missing_data_ratio(session, complete=complete),
        "session": {
            "id": session.session_id,
            "state": session.state(now),
            "start_time": stamp(session.start, zone),
            "end_time": _end(session, now, zone),
            "unexpected_end_time": _unexpected_end(session, now, zone),
            "created_timezone": session.zone,
            "sleep_stages": orjson.Fragment(analysis.stages) if analysis else None,
            "breath_stages": orjson.Fragment(analysis.breath) if analysis else None,
            "snoring_stages": orjson.Fragment(analysis.snoring) if analysis else None,
        },
        "stat": stat,
    }


def shown_stat(session: Session, analysis: Analysis, zone: tzinfo, behaviour: Behaviour) -> Json:
    """The statistics of a finished session, in the form that this copy of the service has chosen.

    Args:
        session: the session.
        analysis: the result that is in force.
        zone: time zone of the timestamps.
        behaviour: the choices in force.
    """
    figures = analysis.figures
    stat = stat_of(figures, session.start, session.end or session.start, zone)
    marks = figures.cycle_marks
    if behaviour.sleep_cycle == "fractional" and marks:
        stat["sleep_cycle"] = (marks[-1] - marks[0]) / (len(marks) - 1)
    if behaviour.sleep_efficiency == "percentage":
        stat["sleep_efficiency"] = round(100 * figures.values["time_in_sleep"] / max(stat["time_in_bed"], 1), 2)
    if behaviour.stage_latency == "from_start":
        for name in ("light_latency", "deep_latency", "rem_latency"):
            stat[name] = None if stat[name] is None else stat[name] + figures.sleep_latency
    return stat


def in_chosen_form(body: bytes, behaviour: Behaviour) -> bytes:
    """JSON with its timestamps in the form that this copy of the service has chosen.

    Args:
        body: a response as JSON.
        behaviour: the choices in force.
    """
    if behaviour.timestamp_form == "z":
        return STAMP_IN_UTC.sub(rb'\1Z"', body)
    return STAMP.sub(rb'\1"', body) if behaviour.timestamp_form == "bare" else body


def visible_analysis(session: Session, now: datetime) -> Analysis | None:
    """What can be seen of the analysis by `now`: nothing when too short, part of it while running.

    Args:
        session: the session.
        now: the simulated moment.
    """
    running = session.state(now) != "COMPLETE"
    if session.finding == TOO_SHORT or (running and NO_POLLING_TAG in session.tags):
        return None
    count = session.received(now)
    if running:
        count -= count % INFERENCE_EPOCHS
    if count <= 0:
        return None
    return analysis_of(replace(session.recording, count=count))


def finding_of(session: Session, analysis: Analysis | None) -> str | None:
    """The peculiarity that the analysis finds; NEVER_SLEPT for a recording without sleep.

    Args:
        session: the session.
        analysis: the result that is in force.
    """
    if session.finding is None and analysis and not analysis.figures.slept:
        return NEVER_SLEPT
    return session.finding


def _peculiarities(session: Session, finding: str | None, *, complete: bool) -> list[str]:
    if not complete:
        return [IN_PROGRESS, NO_POLLING] if NO_POLLING_TAG in session.tags else [IN_PROGRESS]
    found = [finding] if finding else []
    return found if session.recording.breathing else [*found, NO_BREATHING]


def _missing_data_ratio(session: Session, *, complete: bool) -> float:
    if not complete or session.end is None:
        return 0.0
    if session.finding == TOO_SHORT:
        return 0  # the integer that the contract warns of
    if session.recording.source == "defects":
        return 0.7
    slots = (session.end - session.start) // ONE_SECOND // EPOCH_SECONDS
    return round(session.missing_epochs / slots, 3) if slots else 0.0


def _time_in_bed(session: Session, now: datetime, behaviour: Behaviour) -> int | None:
    if session.end and session.state(now) != "OPEN":
        return (session.end - session.start) // ONE_SECOND
    choices = {"null": None, "zero": 0, "running": (now - session.start) // ONE_SECOND}
    return choices[behaviour.open_time_in_bed]


def _end(session: Session, now: datetime, zone: tzinfo) -> datetime | None:
    return stamp(session.end, zone) if session.end and now >= session.end else None


def _unexpected_end(session: Session, now: datetime, zone: tzinfo) -> datetime | None:
    visible = session.unexpected_end and now >= session.unexpected_end
    return stamp(session.unexpected_end, zone) if session.unexpected_end and visible else None
