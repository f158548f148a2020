"""No cause of an error carries what the user or a registry gave."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
from collections.abc import Iterator

PACKAGE = pathlib.Path(__file__).parents[2] / "imageprep_client"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: A module without this raises no error from another one.
_FROM = re.compile(r"(?m)^ +(raise\b.*|\S*\)) from (?!None\b)")
#: Others whose text has no input in it: those of the operating system, which
#: may name a file, and an absent module.
_HARMLESS = frozenset(
    {
        "BlockingIOError",
        "BrokenPipeError",
        "FileNotFoundError",
        "ImportError",
        "ModuleNotFoundError",
        "IsADirectoryError",
        "NotADirectoryError",
        "OSError",
        "PermissionError",
        "TimeoutError",
    }
)


@functools.cache
def own() -> frozenset[str]:
    """The package's own errors, whose text is fit to be shown."""
    return frozenset(
        name
        for path in MODULES
        for name in re.findall(r"(?m)^ *class (\w+)", path.read_text())
    )


def chained(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each ``raise ... from error``: its line and the types of the cause."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name:
            continue
        types: list[ast.expr] = []
        if isinstance(handler.type, ast.Tuple):
            types = list(handler.type.elts)
        elif isinstance(handler.type, ast.BinOp):
            types = [
                node
                for node in ast.walk(handler.type)
                if isinstance(node, ast.Attribute)
            ]
        elif handler.type:
            types = [handler.type]
        for node in ast.walk(handler):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.cause, ast.Name)
                and node.cause.id == handler.name
            ):
                for each in types:
                    yield node.lineno, ast.unparse(each)


def is_harmless(name: str) -> bool:
    """Whether an error of this type may be a cause."""
    return name in _HARMLESS or name.rpartition(".")[2] in own()


def test_causes_are_harmless() -> None:
    """A conversion or a parser quotes its input, and ``--debug`` shows it."""
    wrong = [
        f"{path}:{line}: from {name}"
        for path in MODULES
        if _FROM.search(text := path.read_text())
        for line, name in chained(ast.parse(text))
        if not is_harmless(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_quoting_causes_are_noticed() -> None:
    """The check catches what it is made to catch."""
    source = """
try:
    int(x)
except (OSError, ValueError) as error:
    raise errors.InvalidFile(x) from error
"""
    found = [name for _, name in chained(ast.parse(source))]
    assert found == ["OSError", "ValueError"]
    assert not is_harmless("ValueError")
