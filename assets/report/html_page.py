"""The report's page: one HTML file that needs nothing else, on paper and on screen.

Markup and style are in `page.html.j2`; this module says what a page consists of.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from assets.report.style import ACCENT, INK, LINE, MUTED

_COLOURS = {"ink": INK, "muted": MUTED, "line": LINE, "accent": ACCENT}


class Tile(NamedTuple):
    """A figure to read first."""

    name: str
    value: str
    note: str = ""


class Picture(NamedTuple):
    """A picture with what it shows in words."""

    title: str
    words: str
    svg: str
    wide: bool = False

    def described(self) -> Markup:
        """The picture; its title is what a screen reader says."""
        return Markup(self.svg.replace("<svg", f'<svg role="img" aria-label="{escape(self.title)}"', 1))  # noqa: S704 drawn by us


class Sheet(NamedTuple):
    """A small table; the first column names the row."""

    title: str
    words: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Page(NamedTuple):
    """A whole report."""

    over: str
    title: str
    under: str
    tiles: Sequence[Tile]
    blocks: Sequence[Picture | Sheet]
    foot: str

    def html(self) -> str:
        """The document."""
        return _template().render(page=self, colours=_COLOURS)


@cache
def _template() -> Template:
    loader = PackageLoader("assets.report", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.j2")
