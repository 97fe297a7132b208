"""The report's page: one HTML file that needs nothing else, on paper and on screen.

Lives here: HTML and CSS.  Not here: data, pictures.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from assets.report.style import ACCENT, INK, LINE, MUTED

_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f4f6f9; color: {INK}; font: 15px/1.5 system-ui, sans-serif; }}
main {{ max-width: 1120px; margin: 0 auto; padding: 40px 24px 56px; }}
header p {{ margin: 0; color: {MUTED}; }}
h1 {{ margin: 2px 0 4px; font-size: 30px; line-height: 1.2; letter-spacing: -0.02em; }}
code {{ font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }}
h2 {{ margin: 0; font-size: 16px; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 24px 0 16px; }}
.tile, figure, section {{ background: #fff; border: 1px solid {LINE}; border-radius: 12px; }}
.tile {{ padding: 14px 16px; }}
.tile span {{ display: block; color: {MUTED}; font-size: 13px; }}
.tile b {{ display: block; font-size: 22px; white-space: nowrap; line-height: 1.25; letter-spacing: -0.02em; }}
.tile small {{ display: block; margin-top: 2px; color: {MUTED}; font-size: 12.5px; line-height: 1.35; }}
.grid {{ display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }}
.wide {{ grid-column: 1 / -1; }}
figure {{ margin: 0; padding: 16px 18px 12px; break-inside: avoid; min-width: 0; }}
figcaption p {{ margin: 1px 0 8px; color: {MUTED}; font-size: 13px; }}
figure svg {{ display: block; width: 100%; height: auto; }}
section {{ padding: 16px 18px; overflow-x: auto; break-inside: avoid; }}
section p {{ margin: 1px 0 8px; color: {MUTED}; font-size: 13px; }}
table {{ width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }}
th, td {{ padding: 6px 10px; text-align: right; white-space: nowrap; border-top: 1px solid {LINE}; }}
th {{ border-top: 0; color: {MUTED}; font-weight: 500; font-size: 12.5px; }}
th:first-child, td:first-child {{ padding-left: 0; text-align: left; }}
td:last-child, th:last-child {{ padding-right: 0; }}
footer {{ margin-top: 20px; color: {MUTED}; font-size: 13px; }}
a {{ color: {ACCENT}; }}
@media (max-width: 760px) {{ .grid {{ grid-template-columns: 1fr; }} main {{ padding: 24px 14px; }} }}
@media print {{ body {{ background: #fff; }} main {{ padding: 0; max-width: none; }} }}
"""


class Tile(NamedTuple):
    """A figure to read first."""

    name: str
    value: str
    note: str = ""

    def html(self) -> str:
        """The tile."""
        name, value, note = map(escape, self)
        return f'<div class="tile"><span>{name}</span><b>{value}</b><small>{note}</small></div>'


class Picture(NamedTuple):
    """A picture with what it shows in words."""

    title: str
    words: str
    svg: str
    wide: bool = False

    def html(self) -> str:
        """The figure element; its title is what a screen reader says."""
        described = self.svg.replace("<svg", f'<svg role="img" aria-label="{escape(self.title)}"', 1)
        place = ' class="wide"' if self.wide else ""
        caption = f"<figcaption><h2>{escape(self.title)}</h2><p>{escape(self.words)}</p></figcaption>"
        return f"<figure{place}>{caption}{described}</figure>"


class Sheet(NamedTuple):
    """A small table; the first column names the row."""

    title: str
    words: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """The section element."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        words = f"<h2>{escape(self.title)}</h2><p>{escape(self.words)}</p>"
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<section class="wide">{words}{table}</section>'


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
        tiles = "".join(tile.html() for tile in self.tiles)
        blocks = "\n".join(block.html() for block in self.blocks)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="robots" content="noindex">\n'
            f"<title>{escape(self.title)} · {escape(self.over)}</title>\n<style>{_STYLE}</style>\n</head>\n"
            "<body>\n<main>\n"
            f"<header><p>{escape(self.over)}</p><h1>{escape(self.title)}</h1><p>{escape(self.under)}</p></header>\n"
            f'<div class="tiles">{tiles}</div>\n<div class="grid">\n{blocks}\n</div>\n'
            f"<footer>{escape(self.foot)}</footer>\n</main>\n</body>\n</html>\n"
        )
