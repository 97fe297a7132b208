"""The 208 real nights that the simulator plays, read from two CSV files."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

STAGE_OF = {"x": -1, "0": 0, "1": 1, "2": 2, "3": 3}
INVENTED = ("wake", "defects")
FILES = ("boas_128_nights.csv", "dod_80_nights.csv")


@dataclass(frozen=True, slots=True)
class Night:
    """One scored night: a character per 30 s, twice, by two independent scorers."""

    night_id: str
    stages: str
    stages_alt: str


@cache
def all_nights() -> dict[str, Night]:
    """Every night by its id, in the order of the files."""
    nights = {}
    for name in FILES:
        text = (files("simulator") / "nights" / name).read_text(encoding="utf-8")
        for row in csv.DictReader(text.splitlines()):
            nights[row["night_id"]] = Night(row["night_id"], row["stages"], row["stages_alt"])
    return nights


def is_source(source: str) -> bool:
    """Whether `stage_text` can play it."""
    return source in INVENTED or all(name in all_nights() for name in source.split("+"))


def stage_text(source: str, first: int, count: int, *, alternative: bool) -> str:
    """`count` epochs of `source` from epoch `first` on.

    A source is a night's id, several of them joined with `+`, `wake` (awake throughout) or `defects`
    (mostly unknown). A source that is too short starts over.

    Args:
        source: id of the night, or several joined with `+`.
        first: first epoch.
        count: number of epochs.
        alternative: True for another scorer's stages.
    """
    if source == "wake":
        return "0" * count
    if source == "defects":
        return ("x" * 14 + "1" * 6) * (count // 20) + "x" * (count % 20)
    nights = [all_nights()[name] for name in source.split("+")]
    text = "".join(night.stages_alt if alternative else night.stages for night in nights)
    while len(text) < first + count:
        text += text
    return text[first : first + count]
