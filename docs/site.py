"""MkDocs hooks: the generated references of commands and settings, and links from pages to files of the repository."""

import os
import re
from datetime import date
from enum import EnumType
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipelines.cli.main import main
from pipelines.settings import APP_ROOT, Settings

KINDS = {
    bool: "`true`, `false`",
    int: "integer",
    float: "number",
    str: "text",
    date: "date",
    Path: "path",
    SecretStr: "text, secret",
}
BOUNDS = [(Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤")]
LINK = re.compile(r"(?<=\]\()(?!https?://|#|mailto:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and each file of the repository that a page links to, as text."""
    linked = {path for file in files.documentation_pages() for path in _outside(file).values()}
    for path in sorted(linked):
        files.append(File.generated(config, f"source/{path}.txt", abs_src_path=str(APP_ROOT / path)))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    files.append(File.generated(config, "reference/settings.md", content=settings_page()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links that leave docs/ to the copy of the file in the site."""
    outside = _outside(page.file)
    folder = Path(page.file.src_uri).parent
    return LINK.sub(
        lambda m: os.path.relpath(f"source/{outside[m[1]]}.txt", folder) if m[1] in outside else m[1], markdown
    )


def _outside(file: File) -> dict[str, str]:
    """Links of a page to files of the repository outside of docs/, with the file's path from the top."""
    folder = (APP_ROOT / "docs" / file.src_uri).parent
    targets = {link: os.path.normpath(folder / link) for link in LINK.findall(file.content_string)}
    inside = str(APP_ROOT / "docs") + os.sep
    return {
        link: str(Path(target).relative_to(APP_ROOT))
        for link, target in targets.items()
        if not target.startswith(inside) and Path(target).is_file()
    }


def commands_page() -> str:
    """The help of every command, in Markdown."""
    root = click.Context(main, info_name="asleep-sync", max_content_width=100)
    return "# Commands\n\nWhat `--help` prints.\n\n" + "\n".join(_command(main, root))


def _command(command: click.Command, context: click.Context) -> list[str]:
    lines = [f"## {context.command_path}", "", "```text", command.get_help(context), "```", ""]
    for name, child in sorted(getattr(command, "commands", {}).items()):
        lines += _command(child, click.Context(child, context, info_name=name, max_content_width=100))
    return lines


def settings_page() -> str:
    """Every variable with its values, default and meaning: values from `Settings`, meaning from `.env.example`."""
    meanings = _meanings((APP_ROOT / ".env.example").read_text("utf-8"))
    lines = [
        "# Settings",
        "",
        "Environment variables, or lines of `.env` in the current directory. Invalid ones are reported by name.",
        "",
        "| Variable | Values | Default | Meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        variable = name.upper()
        lines.append(f"| `{variable}` | {_values(field)} | {_default(field)} | {meanings[variable]} |")
    return "\n".join(lines) + "\n"


def _meanings(example: str) -> dict[str, str]:
    """The comment above each variable of `.env.example`."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in example.splitlines():
        if assigned := re.match(r"#? ?([A-Z_]+)=", line):
            found[assigned[1]] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []
    return found


def _values(field: FieldInfo) -> str:
    """What a variable may be set to, with its bounds."""
    annotation: Any = field.annotation
    if get_origin(annotation) in {Union, UnionType}:
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    if isinstance(annotation, EnumType):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "separated by commas"
    bounds = [
        f"{sign} {getattr(m, name):g}" for m in field.metadata for kind, name, sign in BOUNDS if isinstance(m, kind)
    ]
    return ", ".join([KINDS[annotation], *bounds])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    if isinstance(value, Path):
        value = value.relative_to(APP_ROOT) if value.is_relative_to(APP_ROOT) else value
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
