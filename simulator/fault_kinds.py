"""What each kind of fault does to an answer, one method per kind.

Faults in how an answer travels are in `transport_faults`, the choice of requests is in `faults`.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from simulator.changes import Changes
from simulator.messages import ApiError, Delivery, Request, Response
from simulator.transport_faults import TRANSPORT

if TYPE_CHECKING:
    from simulator.faults import Rule, Target

Json = dict[str, Any]
Before = Callable[["Effects", "Rule", "Target"], Response | None]
After = Callable[["Effects", "Rule", "Target", Response], Response]
STATUS_KIND = re.compile(r"status_([45]\d\d)")
GATEWAY_PAGE = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center></body></html>"
LOGIN_PAGE = b"<!DOCTYPE html><html><body><h1>Welcome</h1><p>Please accept the terms of this network.</p></body></html>"

ENDPOINT_OF = {"empty_list": "list_sessions", "missing_session": "read_session", "damaged_stages": "read_session"}
"""Kinds that mean something to one endpoint only."""
ABOUT_PAGES = ("duplicate_rows", "page_cap", "insert_between_pages", "delete_between_pages")
WRONG_RESULT: Json = {
    "stat.sleep_index": "high",
    "stat.sleep_efficiency": 88.24,
    "stat.sleep_cycle": [{"start": 0, "end": 5400}],
    "stat.sleep_time": "06:30:00",
    "stat.sleep_cycle_time": [5400, 10800],
    "stat.stress_index": 3,
    "peculiarities": ["LOUD_ROOM"],
    "missing_data_ratio": 0,
    "device": {"model": "unknown"},
}
WRONG_LIST: Json = {"sleep_session_list.0.last_received_seq_num": "n/a", "sleep_session_list.0.device": "phone"}
WRONG_AVERAGES: Json = {"average_stats.waso_count": "2.5", "average_stats.sleep_time": 21600, "days": 31}
WRONG_FIELDS: dict[str, Json] = {
    "read_session": WRONG_RESULT,
    "list_sessions": WRONG_LIST,
    "average_stats": WRONG_AVERAGES,
}


class Effects:
    """The kinds of fault; those that change the world do it like any other change.

    Each takes the rule, the target of the request and, after the API has responded, its response; it returns the
    response to send, or None to leave the request alone.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def has(self, kind: str) -> bool:
        """Whether there is such a kind."""
        return kind in BEFORE or kind in AFTER or STATUS_KIND.fullmatch(kind) is not None

    def status_kind(self, kind: str) -> Before | None:
        """`status_500`, `status_503` and their like."""
        return Effects.status if STATUS_KIND.fullmatch(kind) else None

    def status(self, rule: "Rule", _: "Target") -> Response:
        """A server error; 502 and 504 come as HTML, as from a gateway."""
        status = int(rule.kind.removeprefix("status_"))
        if status in (502, 504):
            page = GATEWAY_PAGE % (status, status)
            return Response(status, page, "text/html", _headers(rule))
        return _refusal(rule, status, "Internal server error" if status == 500 else "Service unavailable")  # noqa: PLR2004

    def reset(self, _rule: "Rule", _: "Target") -> Response:
        """The connection is reset instead of a response."""
        return Response(delivery=Delivery("reset"))

    def timeout(self, _rule: "Rule", _: "Target") -> Response:
        """No response is ever sent."""
        return Response(delivery=Delivery("never"))

    def throttle_storm(self, rule: "Rule", _: "Target") -> Response:
        """Every request exceeds the rate limit, whatever the rate."""
        return _refusal(rule, 403, "Rate limit exceeded")

    def quota(self, rule: "Rule", _: "Target") -> Response:
        """The account's quota is used up."""
        return _refusal(rule, 403, "Quota exceeded")

    def plan(self, rule: "Rule", _: "Target") -> Response:
        """The account's plan has expired."""
        return _refusal(rule, 403, "Plan is expired")

    def key_revoked(self, rule: "Rule", _: "Target") -> Response:
        """The key is no longer valid."""
        return _refusal(rule, 401, "Unauthorized")

    def gateway_message(self, rule: "Rule", _: "Target") -> Response:
        """The gateway in front of the API rejects the request, with `message` instead of `detail`."""
        status = rule.status or 403
        text = rule.message or ("Too Many Requests" if status == 429 else "Forbidden")  # noqa: PLR2004
        return Response(status, orjson.dumps({"message": text}), headers=_headers(rule))

    def missing_user(self, rule: "Rule", _: "Target") -> Response:
        """404: the user does not exist."""
        return _refusal(rule, 404, "user does not exist")

    def missing_session(self, rule: "Rule", _: "Target") -> Response:
        """404: the session does not exist."""
        return _refusal(rule, 404, "session does not exist")

    def empty_list(self, _rule: "Rule", _: "Target") -> Response:
        """The list of an existing user is empty."""
        return Response(body=b'{"detail":"OK","result":{"timezone":"UTC","sleep_session_list":[]}}')

    def all_missing(self, rule: "Rule", target: "Target") -> Response:
        """Every list is empty, and everything else gets 404, as if all had been deleted."""
        if target.endpoint == "list_sessions":
            return self.empty_list(rule, target)
        return self.missing_session(rule, target) if target.session else self.missing_user(rule, target)

    def damaged_stages(self, rule: "Rule", _: "Target", response: Response) -> Response:
        """A tenth of the stage array is lost, or replaced by wake."""
        body = orjson.loads(response.body)
        result = body.get("result") or {}
        stages = (result.get("session") or {}).get("sleep_stages") or []
        if not result.get("stat"):  # without statistics nothing could show the damage
            return response
        lost = slice(len(stages) // 3, len(stages) // 3 + max(1, len(stages) // 10))
        stages[lost] = [] if rule.damage == "lost" else [0] * len(stages[lost])
        response.body = orjson.dumps(body)
        return response

    def duplicate_rows(self, _rule: "Rule", target: "Target") -> None:
        """Each later page begins with the last row of the page before."""
        offset = _number(target.request, "offset", 0)
        target.request.query["offset"] = str(offset - 1)

    def page_cap(self, rule: "Rule", target: "Target") -> None:
        """Pages are shorter than `limit`."""
        target.request.query["limit"] = str(min(rule.cap, _number(target.request, "limit", 20)))

    def not_json(self, _rule: "Rule", _: "Target", response: Response) -> Response:
        """The JSON ends early, with a right content-length."""
        response.body = response.body[: max(1, len(response.body) // 2)]
        return response

    def html_200(self, _rule: "Rule", _: "Target", _response: Response) -> Response:
        """A captive portal responds instead of the API, with status 200."""
        return Response(200, LOGIN_PAGE, "text/html")

    def oversized(self, rule: "Rule", _: "Target", response: Response) -> Response:
        """The response is well-formed, but far too large."""
        padding = b',"padding":"' + b"x" * (rule.mebibytes * 1024 * 1024) + b'"}'
        response.body = response.body.rstrip()[:-1] + padding
        return response

    def wrong_types(self, rule: "Rule", target: "Target", response: Response) -> Response:
        """Fields have unexpected types, and there are unknown fields and an unknown peculiarity."""
        body = orjson.loads(response.body)
        for path, value in (rule.changes or WRONG_FIELDS.get(target.endpoint, {})).items():
            _set(body.get("result"), path.split("."), value)
        response.body = orjson.dumps(body)
        return response

    def insert_between_pages(self, _rule: "Rule", target: "Target", response: Response) -> Response:
        """After the first page was read, a session is added to it, so that later rows move back."""
        first, second = sorted(_rows(response)[:2], key=lambda row: str(row["session_start_time"]))
        wishes = {"epochs": 3, "finding": "TOO_SHORT_FOR_ANALYSIS", "zone": first["created_timezone"]}
        self._changes.apply("add_session", user_id=target.user, start=_gap(first, second), **wishes)
        return response

    def delete_between_pages(self, _rule: "Rule", _: "Target", response: Response) -> Response:
        """After the first page was read, its first session is deleted, so that later rows move up."""
        self._changes.apply("delete_session", session_id=_rows(response)[0]["session_id"])
        return response

    def can_hit(self, kind: str, target: "Target", response: Response | None = None) -> bool:
        """Whether the kind means anything for this request, so that a rule is not used up in vain."""
        wanted = ENDPOINT_OF.get(kind)
        if wanted is not None and target.endpoint != wanted:
            return False
        if kind not in ABOUT_PAGES:
            return True
        if target.endpoint != "list_sessions":
            return False
        if response is None:
            return kind == "page_cap" or _number(target.request, "offset", 0) > 0
        limit = min(_number(target.request, "limit", 20), self._changes.world.behaviour.page_cap)
        return not _number(target.request, "offset", 0) and len(_rows(response)) == limit > 1


def _refusal(rule: "Rule", status: int, detail: str) -> Response:
    response = ApiError(rule.status or status, rule.message or detail).response()
    response.headers = _headers(rule)
    return response


def _headers(rule: "Rule") -> dict[str, str]:
    return {} if rule.retry_after is None else {"retry-after": str(rule.retry_after)}


def _number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _rows(response: Response) -> list[Json]:
    rows: list[Json] = orjson.loads(response.body)["result"]["sleep_session_list"]
    return rows


def _gap(first: Json, second: Json) -> str:
    """A minute after the first session, or a second after its start when the next one leaves no room."""
    begin = datetime.fromisoformat(first["session_start_time"])
    end = datetime.fromisoformat(first["session_end_time"] or first["session_start_time"])
    free = end + timedelta(minutes=1)
    later = datetime.fromisoformat(second["session_start_time"])
    return (free if free < later else begin + timedelta(seconds=1)).isoformat()


def _set(place: Any, path: list[str], value: Any) -> None:
    """Set what the dotted path names, as far as the way there exists."""
    for step in path[:-1]:
        if isinstance(place, list):
            place = place[int(step)] if len(place) > int(step) else None
        else:
            place = place.get(step) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place[path[-1]] = value


BEFORE: dict[str, Before] = {
    kind: getattr(Effects, kind)
    for kind in (
        *("reset", "timeout", "throttle_storm", "quota", "plan", "key_revoked"),
        *("gateway_message", "missing_user", "missing_session", "empty_list", "all_missing"),
        *("duplicate_rows", "page_cap"),
    )
} | {"outage": Effects.reset}
AFTER: dict[str, After] = {
    kind: getattr(Effects, kind)
    for kind in (
        *("not_json", "html_200", "oversized", "wrong_types"),
        *("insert_between_pages", "delete_between_pages", "damaged_stages"),
    )
} | TRANSPORT
