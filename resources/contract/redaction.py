"""Replaces ids, times, values and texts of recorded responses, consistently, and keeps the relations between them.

Kept are names of fields, states and peculiarities of the contract, types, nulls, the order of times, and on which days
sessions were: that is what the statements about the contract look at.
"""

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from itertools import pairwise
from random import SystemRandom
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from resources.asleep.parse_values import LARGEST_RATIO
from resources.asleep.parsing import FIELD_NAME
from resources.asleep.records import PECULIARITIES, STATES
from resources.asleep.transport import ApiRequest
from resources.contract.statements import EPOCH_SECONDS, ROUNDING, SUMS, mean_of_ratios, ratio_of_sums
from resources.local_time import local_zone

_KEPT = STATES | PECULIARITIES | {"UTC", "OK"}
_ID_NAMES = frozenset({"id", "session_id", "user_id"})
_STAGES = frozenset({"sleep_stages", "breath_stages", "snoring_stages"})
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
_CLOCK_TIME = re.compile(r"\d\d:\d\d:\d\d")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_STAGE_LATENCIES = ((1, "light_latency"), (2, "deep_latency"), (3, "rem_latency"))
_ERRORS = (
    "The invalid timezone format is provided",
    "The format of x-user-id or sleep session id is invalid",
    "The period should be less than or equal to 100 days",
    "Unauthorized invalid customer uuid",
    "Rate limit exceeded, Quota exceeded, Plan is expired",
    "user requested was not found, user does not exist, Unable to find the user of id",
)
"""Texts that the contract quotes."""
_WORDS_OF_ERRORS = frozenset(word.strip(",").casefold() for text in _ERRORS for word in text.split())
DAY_SECONDS = 86_400
_BOUNDS = (0, 1, LARGEST_RATIO, 100, 2**31, 2**33)

Json = Any


class Exchange(NamedTuple):
    """One request and the body of its response."""

    request: ApiRequest
    """Without dates, which belong to the day of the recording."""
    status: int
    body: dict[str, Any]


def redacted(exchanges: Sequence[Exchange], user_id: str) -> tuple[list[Exchange], str]:
    """Return copies of the exchanges, and the id that stands for the user.

    Args:
        exchanges: about one user.
        user_id: the user; ids of other users in paths are made up and stay.
    """
    redaction = _Redaction([exchange.body for exchange in exchanges], user_id)
    return [redaction.exchange(exchange) for exchange in exchanges], redaction.ids[user_id]


class _Redaction:
    def __init__(self, bodies: Sequence[Json], user_id: str) -> None:
        self._random = SystemRandom()
        found = [pair for body in bodies for pair in _leaves(body)]
        ids = {user_id} | {value for name, value in found if name in _ID_NAMES and isinstance(value, str)}
        self.ids = {each: self._other_id(each) for each in sorted(ids)}
        self._times = self._other_times({moment for _, value in found if (moment := _moment(value))})
        self._texts: dict[str, str] = {}

    def exchange(self, exchange: Exchange) -> Exchange:
        """A copy with everything private replaced."""
        request, status, body = exchange
        segments = [unquote(segment) for segment in request.path.split("/")]
        path = "/".join(quote(self.ids.get(segment, segment), safe="") for segment in segments)
        request = replace(request, path=path, user_id=self.ids.get(request.user_id, request.user_id), headers={})
        if "result" not in body:
            return Exchange(request, status, self._error(body))
        copy = self._value("", body)
        _restore(body["result"], copy["result"])
        return Exchange(request, status, copy)

    def _other_id(self, value: str) -> str:
        """The same form: digits for digits, letters for letters; the prefix of user ids stays."""
        kinds = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
        prefix = "G-" if value.startswith("G-") else ""
        rest = (
            next((self._random.choice(kind) for kind in kinds if each in kind), each) for each in value[len(prefix) :]
        )
        return prefix + "".join(rest)

    def _other_times(self, moments: set[datetime]) -> dict[datetime, datetime]:
        """Other times of the same day in the same order."""
        days: dict[datetime, list[datetime]] = {}
        for moment in sorted(moments):
            days.setdefault(datetime.combine(moment.date(), time(), UTC), []).append(moment)
        return {
            moment: datetime.fromtimestamp(day.timestamp() + seconds, UTC)
            for day, of_day in days.items()
            for moment, seconds in zip(
                of_day, sorted(self._random.sample(range(DAY_SECONDS), len(of_day))), strict=True
            )
        }

    def _value(self, name: str, value: Json) -> Json:
        if isinstance(value, dict):
            return {self._field_name(each): self._value(each, held) for each, held in value.items()}
        if isinstance(value, list):
            is_codes = name in _STAGES and all(each is None or type(each) is int for each in value)
            copies = value if is_codes else [self._value(name, each) for each in value]
            if not value or any(isinstance(each, dict | list | str) for each in value):
                return copies
            return self._random.choices(list(dict.fromkeys(copies)), k=self._random.randrange(100, 1000))
        if isinstance(value, str):
            return self._text(value)
        return value if value is None or isinstance(value, bool) else self._number(value)

    def _field_name(self, name: str) -> str:
        return name if FIELD_NAME.fullmatch(name) else self._numbered("field", name)

    def _numbered(self, kind: str, text: str) -> str:
        return self._texts.setdefault(text, f"{kind}_{len(self._texts) + 1}")

    def _text(self, value: str) -> str:
        if value in self.ids or value in _KEPT or self._is_day_of_sessions(value):
            return self.ids.get(value, value)
        if moment := _moment(value):
            return self._timestamp(value, self._times[moment])
        if _CLOCK_TIME.fullmatch(value):
            return datetime.fromtimestamp(self._random.randrange(DAY_SECONDS), UTC).strftime("%H:%M:%S")
        return "Etc/UTC" if local_zone(value) is not None else self._numbered("text", value)

    def _is_day_of_sessions(self, value: str) -> bool:
        """Other dates, such as one of birth, are replaced like any text."""
        days = [moment.date().isoformat() for moment in self._times]
        return bool(_DATE.fullmatch(value) and days and min(days) <= value <= max(days))

    def _timestamp(self, value: str, moment: datetime) -> str:
        """The moment in the form of the text."""
        was = datetime.fromisoformat(value)
        moment = moment.replace(microsecond=self._random.randrange(1, 1_000_000) if was.microsecond else 0)
        if was.tzinfo is None:
            return moment.replace(tzinfo=None).isoformat()
        text = moment.astimezone(was.tzinfo).isoformat()
        return text.replace("+00:00", "Z") if value.endswith("Z") else text

    def _number(self, value: float) -> float:
        """Another number of the same type and sign, on the same side of 1, 1.5, 100 and the largest integer."""
        size = abs(value)
        if size in (0, 1):
            return value
        low, limit = next((low, high) for low, high in pairwise(_BOUNDS) if size <= high or high == _BOUNDS[-1])
        other = size
        while other == size:
            other = round(self._random.uniform(low, min(limit, max(2 * size, 12))), 3)
            if float(size).is_integer():
                other = type(value)(min(int(other) + 1, limit))
        return other if value > 0 else -other

    def _error(self, body: Json) -> Json:
        """An error with the contract's words only."""
        if isinstance(body, dict):
            return {self._field_name(name): self._error(value) for name, value in body.items()}
        if isinstance(body, list):
            return [self._error(value) for value in body]
        if not isinstance(body, str):
            return None
        return " ".join(word if word.casefold() in _WORDS_OF_ERRORS else "0" for word in body.split())


def _leaves(value: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """Every value that is neither object nor array, with the name of its field."""
    if isinstance(value, dict | list):
        for each, held in value.items() if isinstance(value, dict) else ((name, each) for each in value):
            yield from _leaves(held, each)
    else:
        yield name, value


def _moment(value: Json) -> datetime | None:
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


def _restore(old: Mapping[str, Json], new: dict[str, Json]) -> None:
    """Give the copy of a result the relations between its values that the original has."""
    for name in ("slept_sessions", "never_slept_sessions"):
        for was, row in zip(old.get(name) or (), new.get(name) or (), strict=True):
            if isinstance(was, dict):
                _restore_sums(was, row)
    if isinstance(old.get("average_stats"), dict):
        _restore_averages(old, new)
    if isinstance(old.get("stat"), dict) and isinstance(old.get("session"), dict):
        _restore_sums(old["stat"], new["stat"])
        _restore_latencies(old, new)


def _restore_sums(old: Mapping[str, Json], new: dict[str, Json]) -> None:
    for total, *parts in SUMS:
        values = [old.get(name) for name in (total, *parts)]
        whole = [value for value in values if type(value) is int]
        if len(whole) == len(values) and whole[0] == sum(whole[1:]):
            new[total] = sum(new[name] for name in parts)
    sleep, bed = new.get("time_in_sleep"), old.get("time_in_bed")
    if type(sleep) is int and type(bed) is int and old["time_in_sleep"] <= bed:
        new["time_in_bed"] = sleep + new["time_in_bed"]


def _restore_averages(old: Mapping[str, Json], new: dict[str, Json]) -> None:
    theirs = old["average_stats"].get("sleep_efficiency")
    for formula in (ratio_of_sums, mean_of_ratios):
        was, now = (formula(_sleep_and_bed(result)) for result in (old, new))
        if isinstance(theirs, int | float) and was is not None and now is not None and abs(theirs - was) <= ROUNDING:
            new["average_stats"]["sleep_efficiency"] = round(now, 3)


def _sleep_and_bed(result: Mapping[str, Json]) -> list[tuple[Json, Json]]:
    rows = [row for row in result.get("slept_sessions") or () if isinstance(row, dict)]
    return [(row.get("time_in_sleep"), row.get("time_in_bed")) for row in rows]


def _restore_latencies(old: Mapping[str, Json], new: dict[str, Json]) -> None:
    """Sleep latency follows from the times; stages and their latencies follow from it."""
    onsets = [_onset_seconds(result) for result in (old, new)]
    latency = old["stat"].get("sleep_latency")
    if onsets[0] is not None and onsets[0] == latency:
        new["stat"]["sleep_latency"] = onsets[1]
    stages = old["session"].get("sleep_stages")
    if not stages or type(latency) is not int or any(type(each) is not int for each in stages):
        return
    awake = [0] * (new["stat"]["sleep_latency"] // EPOCH_SECONDS + 1)
    drawn = new["session"]["sleep_stages"]
    new["session"]["sleep_stages"] = replaced = awake + sorted(set(stages) - {0}) + drawn
    for code, name in _STAGE_LATENCIES:
        if code not in stages:
            continue
        first, now = (EPOCH_SECONDS * each.index(code) for each in (stages, replaced))
        if old["stat"].get(name) == first - latency:
            new["stat"][name] = now - new["stat"]["sleep_latency"]
        elif old["stat"].get(name) == first:
            new["stat"][name] = now


def _onset_seconds(result: Mapping[str, Json]) -> int | None:
    start, onset = _moment(result["session"].get("start_time")), _moment(result["stat"].get("sleep_time"))
    return int((onset - start).total_seconds()) if start and onset else None
