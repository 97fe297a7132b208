"""Statements about the API or the installation, and what was found: without any id, value or key."""

from dataclasses import dataclass, field
from enum import StrEnum


class CheckResult(StrEnum):
    """What responses show about a statement."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    NOT_VISIBLE = "not visible"
    """These responses neither confirm nor contradict it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement, checked."""

    statement: str
    result: CheckResult
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
            detail: what was found instead; kept for a contradiction only.
        """
        if holds is None:
            result = CheckResult.NOT_VISIBLE
        else:
            result = CheckResult.CONFIRMED if holds else CheckResult.CONTRADICTED
        self.found.append(Finding(statement, result, detail if holds is False else ""))

    @property
    def contradicted(self) -> list[Finding]:
        """Those that the responses contradict."""
        return [finding for finding in self.found if finding.result is CheckResult.CONTRADICTED]
