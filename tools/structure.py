"""Check the structure of the package.

::

    python tools/structure.py

A public class has a name of its own, modules do not import each other in a
circle (imports for type checking and imports inside functions count), a
module has at most `MAX_LINES` lines, and a package has at most `MAX_MODULES`
modules unless ``[tool.structure.large]`` in pyproject.toml gives its reason.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping

TOP = pathlib.Path(__file__).parents[1]
PACKAGE = "imageprep_client"
MAX_LINES = 450
MAX_MODULES = 12


def modules_of(top: pathlib.Path) -> dict[str, pathlib.Path]:
    """All modules of a package by dotted name.

    Directories without ``__init__.py``, such as the plugins of an ansible
    role, are data.
    """
    modules = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top.parent).with_suffix("").parts
        if not (path.parent / "__init__.py").exists():
            continue
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


def imported(
    name: str, tree: ast.Module, modules: Mapping[str, pathlib.Path]
) -> Iterator[str]:
    """The modules of the package that a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                is_package = modules[name].name == "__init__.py"
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                origin = ".".join([*parts, *filter(None, [origin])])
            for alias in node.names:
                if f"{origin}.{alias.name}" in modules:
                    yield f"{origin}.{alias.name}"
                elif origin in modules:
                    yield origin


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of modules that reach each other, sorted."""
    reached = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        reached[start] = seen
    groups = {
        tuple(
            sorted(other for other in reached[name] if name in reached[other])
        )
        for name in graph
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def public_classes(tree: ast.AST) -> Iterator[str]:
    """The public classes of a module, also those inside other classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from public_classes(node)


def violations(top: pathlib.Path, large: Mapping[str, str]) -> Iterator[str]:
    """The faults in the structure of the package at `top`.

    :param large: the packages that may have many modules, with the reasons.
    """
    modules = modules_of(top)
    graph: dict[str, set[str]] = {}
    homes = collections.defaultdict(list)
    sizes: collections.Counter[str] = collections.Counter()
    for name, path in modules.items():
        source = path.read_bytes()
        tree = ast.parse(source)
        graph[name] = set(imported(name, tree, modules))
        for class_name in public_classes(tree):
            homes[class_name].append(name)
        lines = len(source.splitlines())
        if lines > MAX_LINES:
            yield f"{name} has more than {MAX_LINES} lines"
        if path.name != "__init__.py":
            sizes[name.rpartition(".")[0]] += 1
    for class_name, places in sorted(homes.items()):
        if len(places) > 1:
            yield f"class {class_name} is defined in {', '.join(places)}"
    for circle in circles(graph):
        yield f"import circle: {', '.join(circle)}"
    for name, size in sorted(sizes.items()):
        if size > MAX_MODULES and not large.get(name, "").strip():
            yield f"{name} has more than {MAX_MODULES} modules"
    for name in sorted(large):
        if sizes[name] <= MAX_MODULES:
            yield f"{name} has no need of its reason in pyproject.toml"


def main() -> int:
    """Name all violations; 0 when there is none."""
    with (TOP / "pyproject.toml").open("rb") as stream:
        table = tomllib.load(stream)["tool"]["structure"]
    known = set(table.get("known", []))
    actual = set(violations(TOP / PACKAGE, table.get("large", {})))
    for violation in sorted(actual - known):
        print(violation, file=sys.stderr)
    for violation in sorted(known - actual):
        print(
            f"no longer so, remove it from pyproject.toml: {violation}",
            file=sys.stderr,
        )
    return 1 if actual ^ known else 0


if __name__ == "__main__":
    sys.exit(main())
