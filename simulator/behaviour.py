"""How this copy of the service behaves where the contract leaves a choice, and who may call it.

Every choice is an option of the command line and a name of `POST /_simulator/behaviour`.

Not here: what a choice changes in an answer.
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
    """The choices in force. The first value of each is what the contract's better evidence says."""

    keys: tuple[str, ...] = ("simulated-key",)
    test_key: str | None = None
    """Valid in the Test environment, which holds no users: everything is unknown to it."""
    latency_seconds: float = 0.0

    page_cap: int = _number(MAX_PAGE, 1, MAX_PAGE, help="maximum rows of a page, whatever limit the client sends")
    never_slept_stat: str = _choice("object", "null", help="`stat` of a night without sleep")
    unknown_user_list: str = _choice("404", "empty", help="what listing an unknown user's sessions answers")
    sleep_cycle: str = _choice("rounded", "fractional", help="average length of a cycle: 5873, or 5872.5")
    average_ratios: str = _choice(
        "of_sums", "mean", help="ratios in average_stats: ratio of the sums, or mean of the nightly ratios"
    )

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
