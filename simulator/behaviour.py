"""How this copy of the service behaves where the contract leaves a choice, and which keys are valid.

Every choice is an option of the command line and a name of `POST /_simulator/behaviour`.
"""

from dataclasses import dataclass, field, fields
from typing import Any

MAX_PAGE = 100


def _choice(first: str, *others: str, help: str) -> Any:  # noqa: A002 (the word of argparse)
    return field(default=first, metadata={"help": help, "values": (first, *others)})


def _number(default: float, lowest: float, highest: float, *, help: str) -> Any:  # noqa: A002
    return field(default=default, metadata={"help": help, "lowest": lowest, "highest": highest})


@dataclass(slots=True)
class Behaviour:
    """The choices in force. The first value of each follows the contract's better evidence."""

    keys: tuple[str, ...] = ("simulated-key",)
    test_key: str | None = None
    """Valid in the Test environment, which holds no users: everything is unknown to it."""
    latency_seconds: float = 0.0

    page_cap: int = _number(MAX_PAGE, 1, MAX_PAGE, help="maximum rows of a page, whatever limit the client sends")
    clock_ahead: int = _number(0, -86_400, 86_400, help="seconds by which the `Date` of responses is ahead")
    never_slept_stat: str = _choice("object", "null", help="`stat` of a night without sleep")
    unknown_user_list: str = _choice("404", "empty", help="response to listing an unknown user's sessions")
    max_limit: str = _choice("100", "20", help="largest `limit` accepted; a larger one gets 422")
    list_date: str = _choice("start", "end", help="the moment that decides on which date a session is listed")
    equal_starts: str = _choice("by_id", "changing", help="order of sessions that start at the same moment")
    open_time_in_bed: str = _choice("null", "zero", "running", help="`time_in_bed` in the list row of an OPEN session")
    timestamp_form: str = _choice("offset", "z", "bare", help="+00:00, Z, or nothing after the time of data calls")
    success_detail: str = _choice("by_family", "success", help="`detail` of data calls: OK, or success everywhere")
    not_found_text: str = _choice("newest", "older", "with_id", help="wording of 404")
    throttling: str = _choice("403", "429", help="status of `Rate limit exceeded`")
    sleep_cycle: str = _choice("rounded", "fractional", help="average length of a cycle: 5873, or 5872.5")
    sleep_efficiency: str = _choice("ratio", "percentage", help="0.88, or 88.24")
    stage_latency: str = _choice("from_onset", "from_start", help="what light, deep and REM latency count from")
    average_ratios: str = _choice(
        "of_sums", "mean", help="ratios in average_stats: ratio of the sums, or mean of the nightly ratios"
    )
    average_date: str = _choice(
        "start", "end", "wake", help="the moment that assigns a session to a period of averages"
    )
    average_counts: str = _choice("number", "integer", help="average counts such as waso_count: 2.5, or 3")
    average_session_names: str = _choice(
        "id", "session_id", help="names in slept_sessions: id, start_time, or session_*"
    )
    average_empty_lists: str = _choice("present", "absent", help="a list of average-stats that would be empty")
    unanalysed_in_averages: str = _choice("absent", "never_slept", help="finished sessions without statistics")
    max_period_dates: str = _choice("100", "101", help="most calendar dates of a period of averages")
    period_days: str = _choice("absent", "present", help="`days` in the period of averages")
    last_session_names: str = _choice("bare", "session", help="start_time without offset, or session_start_time with")

    def change(self, name: str, value: Any) -> None:
        """Set one choice.

        Args:
            name: a choice, or `latency_seconds`.
            value: one of its values; a number for `page_cap` and `latency_seconds`.

        Raises:
            ValueError: no such choice, or not one of its values.
        """
        if name == "latency_seconds":
            self.latency_seconds = float(value)
            return
        rules = CHOICES.get(name)
        if rules is None:
            raise ValueError(f"no such choice: {name}; there are {', '.join(CHOICES)}")
        if "values" in rules:
            if value not in rules["values"]:
                raise ValueError(f"{name}: {value!r} is not one of {', '.join(rules['values'])}")
        elif type(value) is not int or not rules["lowest"] <= value <= rules["highest"]:
            raise ValueError(f"{name}: {value!r} is not a whole number from {rules['lowest']} to {rules['highest']}")
        setattr(self, name, value)

    def summary(self) -> dict[str, Any]:
        """Every choice with its value."""
        return {name: getattr(self, name) for name in ("latency_seconds", *CHOICES)}


CHOICES: dict[str, dict[str, Any]] = {each.name: dict(each.metadata) for each in fields(Behaviour) if each.metadata}
