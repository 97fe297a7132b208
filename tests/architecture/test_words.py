"""A short list of words that make our texts hard to read; see the style of the existing texts."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORDS = re.compile(r"\b(nobody|somebody|whoever|told)\b", re.IGNORECASE)
MAX_USES = 15
"""Postgres' system user `nobody` is one of them."""


def test_texts_say_who_does_what():
    """These words leave open who acts; a sentence needs a subject and an active verb."""
    folders = ("assets", "pipelines", "resources", "docs", "README.md", "CONTRIBUTING.md")
    files = [
        path
        for folder in folders
        for path in ([ROOT / folder] if (ROOT / folder).is_file() else (ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".sql", ".md", ".yaml"} and "versions" not in path.parts
    ]
    uses = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in files
            for line in path.read_text("utf-8").splitlines() if WORDS.search(line)]  # fmt: skip
    assert len(uses) <= MAX_USES, "\n".join(uses)
