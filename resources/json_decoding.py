"""Reads JSON, also as some servers write it: NaN, half a surrogate pair, a byte order mark, UTF-16."""

import json
from typing import Any

import orjson


def decode(body: bytes) -> Any:
    """The value that a body holds.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return json.loads(body)
        except RecursionError:
            raise ValueError("nested too deeply") from None
