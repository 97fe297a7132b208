"""Public functions with two or more arguments describe them; ruff checks that `Args:` names each (D417)."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("assets", "pipelines", "resources")
PLAIN_DECORATORS = {"cache", "cached_property", "classmethod", "contextmanager", "override", "property", "staticmethod"}
"""Functions with another decorator are commands, assets, ops and routes: their docstrings are texts of an interface."""


def _public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def _is_undescribed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if any(ast.unparse(decorator).split(".")[-1] not in PLAIN_DECORATORS for decorator in function.decorator_list):
        return False
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    arguments = [each.arg for each in every if each.arg not in {"self", "cls", "_"}]
    docstring = ast.get_docstring(function) or ""
    return len(arguments) > 1 and "Args:" not in docstring


def test_functions_with_two_arguments_describe_them():
    """A reader of a call needs meaning, shape and unit of each argument; the signature gives the type alone."""
    undescribed = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "versions" not in path.parts
        for function in _public_functions(ast.parse(path.read_text("utf-8")).body)
        if _is_undescribed(function)
    ]
    assert not undescribed, "\n".join(undescribed)
