"""Events to a callback address, as section 8 of the contract describes them."""

import hashlib
import hmac
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import orjson

from simulator.messages import ApiError
from simulator.model import INFERENCE_EPOCHS

Json = dict[str, Any]
TIMEOUT_SECONDS = 10
SPELLINGS = ("plain", "callback", "flat")


@dataclass(frozen=True, slots=True)
class Order:
    """Which event goes where."""

    url: str
    session_id: str
    api_key: str = "simulated-key"
    event: str = "SESSION_COMPLETE"
    version: str = "V3"
    secret: str | None = None
    """Signs the body: `x-signature` is the HMAC-SHA256 of it in hexadecimal digits."""
    spelling: str | None = None
    """`plain` (event, version, data), `callback` (callback_event, …; what V2 uses) or `flat`."""
    raw: str | None = None
    """Sent in place of the event's own body."""

    def __post_init__(self) -> None:
        if self.event not in ("SESSION_COMPLETE", "INFERENCE_COMPLETE") or self.version not in ("V1", "V2", "V3"):
            raise ApiError(422, f"no such event: {self.event} {self.version}")
        if self.spelling not in (*SPELLINGS, None):
            raise ApiError(422, f"no such spelling: {self.spelling}")


def body_of(order: Order, user_id: str, result: Json) -> Json:
    """The event's body about a session whose full result is `result`.

    Args:
        order: what the control plane demands.
        user_id: the user's id.
        result: of the session call.
    """
    data = _inference(order, user_id, result) if order.event == "INFERENCE_COMPLETE" else _final(order, user_id, result)
    spelling = order.spelling or ("callback" if order.version == "V2" else "plain")
    if spelling == "callback":
        return {"callback_event": order.event, "callback_version": order.version, "callback_data": data}
    if spelling == "flat":
        return {"event": order.event, "version": order.version, "timestamp": result["session"]["end_time"], **data}
    return {"event": order.event, "version": order.version, "data": data}


def _final(order: Order, user_id: str, result: Json) -> Json:
    if order.version == "V3":
        return {"user_id": user_id, **result}
    if order.version == "V2":
        return {"user_id": user_id, "session_id": result["session"]["id"], "sleep_data": result}
    session = {("osa_stages" if name == "breath_stages" else name): each for name, each in result["session"].items()}
    return {
        "user_id": user_id,
        **{("validity" if name == "peculiarities" else name): each for name, each in result.items()},
        "session": session,
    }


def _inference(order: Order, user_id: str, result: Json) -> Json:
    """The newest five minutes."""
    session = result["session"]
    stages = session["sleep_stages"] or []
    heard = len(stages) - len(stages) % INFERENCE_EPOCHS
    newest = slice(max(0, heard - INFERENCE_EPOCHS), heard)
    breath = session["breath_stages"]
    return {
        "user_id": user_id,
        "session_id": session["id"],
        "seq_num": heard - 1,
        "inference_seq_num": heard // INFERENCE_EPOCHS - 1,
        ("stage_list" if order.version == "V2" else "sleep_stages"): stages[newest],
        ("osa_stages" if order.version == "V1" else "breath_stages"): breath[newest] if breath else None,
        "snoring_stages": (session["snoring_stages"] or [])[newest],
    }


def send(order: Order, user_id: str, result: Json) -> Json:
    """Send the event and say what came back; status 0 when nothing did. Blocks: for a thread.

    Args:
        order: what the control plane demands.
        user_id: the user's id.
        result: of the session call.
    """
    body = order.raw.encode() if order.raw is not None else orjson.dumps(body_of(order, user_id, result))
    headers = {"content-type": "application/json", "x-api-key": order.api_key, "x-user-id": user_id}
    if order.secret is not None:
        headers["x-signature"] = hmac.new(order.secret.encode(), body, hashlib.sha256).hexdigest()
    target = urlsplit(order.url)
    connect = {"http": HTTPConnection, "https": HTTPSConnection}.get(target.scheme)
    if connect is None or target.hostname is None:
        raise ApiError(422, "the address has to be http or https")
    connection = connect(target.hostname, target.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", target.path or "/", body, headers)
        answer = connection.getresponse()
        return {"status": answer.status, "body": answer.read().decode("utf-8", "replace")}
    except (OSError, HTTPException) as error:
        return {"status": 0, "body": repr(error)}
    finally:
        connection.close()
