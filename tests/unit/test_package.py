"""Properties of the package as a whole."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import pathlib

import pytest
from osc_lib.command import command

TOP = pathlib.Path(__file__).parents[2]
FILES = [
    str(path.relative_to(TOP))
    for path in sorted((TOP / "imageprep_client").rglob("*.py"))
]

GROUPS = ("openstack.cli.extension", "openstack.image_prepare.v1")
COMMANDS = [
    entry
    for entry in importlib.metadata.distribution(
        "imageprep-client"
    ).entry_points
    if entry.group == GROUPS[1]
]


@pytest.mark.parametrize("group", GROUPS)
def test_installed_entry_points_are_those_of_setup_cfg(group: str) -> None:
    """The environment was built from this checkout."""
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg")
    lines = config["entry_points"][group].strip().splitlines()
    written = dict(line.split(" = ") for line in lines)
    entries = importlib.metadata.entry_points(group=group)
    installed = {
        entry.name: entry.value
        for entry in entries
        if entry.value.startswith("imageprep_client")
    }
    assert installed == written


def test_commands_need_no_cloud() -> None:
    """Every command loads, and runs without any credentials."""
    for entry in COMMANDS:
        found = entry.load()
        assert issubclass(found, command.Command), entry
        assert found.auth_required is False, entry


def undocumented(file: str) -> list[str]:
    """The public names of a module that have no docstring."""
    tree = ast.parse((TOP / file).read_bytes())
    if not tree.body:
        return []
    missing = [] if ast.get_docstring(tree) else [f"{file}: the module"]
    return missing + [
        f"{file}: {node.name}"
        for node in tree.body
        if isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


def test_public_names_are_documented() -> None:
    """Modules, classes and functions say what they are for."""
    assert [name for file in FILES for name in undocumented(file)] == []
