"""A statement about the API and what responses say about it: without any id, value or key."""

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What the responses say about a statement."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    NOT_VISIBLE = "not visible"
    """These responses neither confirm nor contradict it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement with its verdict."""

    statement: str
    verdict: Verdict
    detail: str = ""
    """What was found instead. Names of fields and types only."""


@dataclass(slots=True)
class Findings:
    """Collects findings."""

    found: list[Finding] = field(default_factory=list)

    def check(self, statement: str, holds: bool | None, detail: str = "") -> None:
        """Add a finding.

        Args:
            statement: what the code assumes.
            holds: None when the responses do not show it.
            detail: of a contradiction.
        """
        verdict = Verdict.NOT_VISIBLE if holds is None else (Verdict.CONFIRMED if holds else Verdict.CONTRADICTED)
        self.found.append(Finding(statement, verdict, detail if holds is False else ""))

    def violations(self, where: str, violations: set[str]) -> None:
        """Fields and types of a response: one contradiction for each violation that the parser recorded."""
        self.check(
            f"{where}: fields and types are those of the contract", not violations, "; ".join(sorted(violations))
        )
