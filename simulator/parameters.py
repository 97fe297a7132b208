"""Ids and numbers of a request, checked against the contract."""

import re

from simulator.messages import ApiError, Request, validation_error

USER_ID = re.compile(r"G-\d{14}-[A-Za-z]{20}")


def data_user_id(request: Request) -> str:
    """The `x-user-id` header of a data call."""
    user_id = request.headers.get("x-user-id")
    if user_id is None:
        raise validation_error("header", "x-user-id", "field required")
    if not USER_ID.fullmatch(user_id):
        raise ApiError(400, "The format of x-user-id is invalid")
    return user_id


def ai_user_id(user_id: str) -> str:
    """A user id of an ai call."""
    if not USER_ID.fullmatch(user_id):
        raise ApiError(401, "x-user-id is invalid")
    return user_id


def integer(request: Request, name: str, default: int, largest: int | None) -> int:
    """A whole number from 0 to `largest` in the query.

    Args:
        request: the request.
        name: of the query parameter.
        default: when the request has none.
        largest: most that is allowed; None without a bound.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise validation_error("query", name, "value is not a valid integer")
    number = int(text)
    if number < 0 or (largest is not None and number > largest):
        raise validation_error("query", name, f"ensure this value is between 0 and {largest}")
    return number
