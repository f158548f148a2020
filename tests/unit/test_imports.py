"""The dependency direction of the package: which part may import which.

A module without a rule fails, so a new part of the package begins with a
decision about what it may know.
"""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest

PACKAGE = "imageprep_client"
TOP = pathlib.Path(__file__).parents[2]

#: What each part may import besides itself and the standard library. The
#: longest name that fits a module decides. Names of the package are given
#: without ``imageprep_client.``; a line that is indented goes on with the one
#: above it.
_RULES = """\
:
errors:
oci: errors
observer: oci
wording:
decompression: backports compression
deadlines: errors
retry: deadlines errors observer
host: errors
http: deadlines errors host oci requests socks urllib3
programs: errors host observer oci subprocess
programs.fsxfs: errors programs.confined programs.entries pyfsxfs
rpm: errors host.inputs
ansible: errors host observer oci.redaction ansible_runner subprocess yaml
# It is a program that ansible is a part of.
ansible.driver: ansible
# It runs on nodes, which have the standard library alone.
ansible.node: subprocess
cloud: errors keystoneauth1 openstack osc_lib requests retry
stores:
stores.base: oci errors
stores.verify: stores.base oci errors
stores.diffids: stores.base stores.verify oci decompression errors
stores.memory: stores.base stores.verify oci errors
stores.stored_files: stores.base
stores.archive: stores.base stores.verify oci errors host
stores.layout: stores.base stores.verify oci errors host
stores.imageserve: stores.base stores.verify oci errors host
    stores.stored_files
stores.containers: stores.base stores.verify oci errors host programs
    stores.diffids
stores.registry: stores.base stores.verify oci errors host http observer
    deadlines retry subprocess
transfer: stores.base stores.verify oci deadlines errors observer retry
trust: errors host oci programs.gpg stores.base stores.verify
trust.lookaside: trust.scopes errors heat.document host oci
trust.sigstore: trust.fields trust.payload oci cryptography
registries: errors heat observer oci retry stores.base stores.diffids
    stores.stored_files stores.verify transfer
heat: errors host.inputs yaml
catalog: deadlines errors heat.document
catalog.template: catalog.table_image errors heat.document heat.value
    host.inputs subprocess
catalog.rendering: jinja2
modify: ansible oci errors host observer programs rpm yaml
plans: errors host heat retry yaml
plans.opening: cloud.object_store errors plans
plans.swift: cloud errors plans retry
plans.swift.at_once: transfer.workers
serving: stores.imageserve oci errors aiohttp
serving.address: errors host oci.reference
serving.apache: serving.address oci errors
container.results.html: container.request wording
container: catalog deadlines errors heat host modify observer oci plans.base
    plans.stored programs retry rpm stores.base stores.diffids stores.verify
    transfer wording
baremetal: errors host observer oci programs retry stores.base stores.verify
    transfer
baremetal.ramdisk: backports compression decompression errors
baremetal.disks: errors programs
baremetal.disks.formats: baremetal.disks.disk decompression errors oslo_utils
baremetal.glance: errors keystoneauth1 openstack requests
machine: errors host observer oci programs stores.base stores.verify transfer
machine.deployment: ansible errors host machine.names oci.platform
machine.deployment.node: platform subprocess
machine.archives.compression: machine.archives.judging decompression backports
    compression isal
machine.sources: errors host machine.archives programs
machine.sources.fetching: machine.sources.quarantine errors host http observer
    retry
machine.nspawn: errors heat.document heat.value
service: errors heat host http.answering observer oci programs rpm wording yaml
preload: ansible errors host observer oci stores.base transfer
preload.node: pacing podman pull storage subprocess tags watch
client: trust ansible baremetal catalog cloud container errors heat host http
    machine modify observer oci plans preload programs registries retry rpm
    service serving stores transfer
cli: client errors observer oci plugin wording cliff osc_lib
cli.progress: cli.log errors observer wording rich
cli.log: errors host observer oci
cli.report: errors host osc_lib
plugin: oci.redaction osc_lib.utils
testing: errors oci heat.document plans.base plans.content plans.files
    plans.history plans.stored stores.base stores.memory pytest yaml
"""

assert re.fullmatch(r"(#.*\n|[\w.]*:.*\n( .*\n)*)*", _RULES), "no rule"

RULES: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in re.findall(
        r"^([\w.]*):((?:.|\n )*)$", _RULES, re.MULTILINE
    )
}

#: What may be imported only inside a function, to keep a start light.
LATE = {"plugin": ("client",)}

#: Parts of the standard library that need a rule, too.
RESTRICTED = frozenset({"subprocess"})

VAGUE = frozenset({"utils", "common", "helpers", "manager"})


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name, as it is written in the rules."""

    name: str
    line: int
    in_function: bool


def modules() -> dict[str, pathlib.Path]:
    """All modules, named as in the rules."""
    top = TOP / PACKAGE
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = list(path.relative_to(top).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


MODULES = modules()


def tree(module: str) -> ast.Module:
    """A module, parsed."""
    return ast.parse(MODULES[module].read_bytes())


def imports(within: ast.AST, in_function: bool = False) -> Iterator[Import]:
    """All imports of a module, also those inside functions."""
    for node in ast.iter_child_nodes(within):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            line = node.lineno
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            names = [f"{origin}.{alias.name}" for alias in node.names]
            line = node.lineno
        else:
            names, line = [], 0
        for name in names:
            short = name.removeprefix(f"{PACKAGE}.")
            yield Import(short, line, in_function)
        inside = in_function or isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef
        )
        if not isinstance(node, ast.expr):
            yield from imports(node, inside)


def is_below(name: str, part: str) -> bool:
    """Whether a dotted name is `part` or something in it."""
    return not part or name == part or name.startswith(f"{part}.")


def rule_of(module: str) -> str:
    """The rule that decides about this module."""
    if not module:
        return ""
    fitting = [part for part in RULES if part and is_below(module, part)]
    assert fitting, f"{module}: no rule says what it may import"
    return max(fitting, key=len)


def is_allowed(found: Import, part: str) -> bool:
    """Whether the rule of `part` lets this import be."""
    root = found.name.partition(".")[0]
    if root == "__future__" or root == "_typeshed":
        return True
    if root in sys.stdlib_module_names and root not in RESTRICTED:
        return True
    allowed = RULES[part]
    if found.in_function:
        allowed += LATE.get(part, ())
    if part:
        allowed += (part,)
    return any(is_below(found.name, name) for name in allowed)


def test_modules_import_only_what_their_rules_allow() -> None:
    """Dependencies point one way, as RULES says."""
    wrong = [
        f"{MODULES[module].relative_to(TOP)}:{found.line}: {rule_of(module)}"
        f" may not import {found.name}"
        for module in MODULES
        for found in imports(tree(module))
        if not is_allowed(found, rule_of(module))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import requests", "cli.commands.run"),
        ("import yaml", "cli.commands.run"),
        ("import subprocess", "cli.commands.run"),
        ("from imageprep_client.stores import memory", "cli.commands.run"),
        ("from imageprep_client.stores import registry", "transfer.engine"),
        ("def f():\n    import requests", "transfer.engine"),
        ("from imageprep_client.stores.layout import X", "stores.memory"),
        ("import requests", "stores.imageserve.tree"),
        ("from imageprep_client import client", "plugin"),
        ("from imageprep_client.testing import images", "client"),
        ("from . import errors", "oci.digest"),
        ("import aiohttp", "serving.apache"),
        ("from imageprep_client.machine import x", "container.prepare"),
    ],
)
def test_forbidden_import_is_found(source: str, module: str) -> None:
    """The rules catch what they are made to catch."""
    part = rule_of(module)
    assert not all(
        is_allowed(found, part) for found in imports(ast.parse(source))
    )


def test_plugin_may_import_the_client_late() -> None:
    """Heavy modules are imported when a command needs them."""
    (found,) = imports(
        ast.parse("def make():\n    from imageprep_client import client")
    )
    assert is_allowed(found, "plugin")


def test_modules_are_named_for_what_they_have() -> None:
    """No module is named for having no subject."""
    assert not [m for m in MODULES if VAGUE & set(m.split("."))]


def test_commands_are_imported_by_no_other_noun() -> None:
    """Shared machinery is in cli, and knows no command."""
    commands = "cli.commands"
    wrong = [
        f"{module}: {imported.name}"
        for module in MODULES
        if is_below(module, "cli")
        for imported in imports(tree(module))
        if is_below(imported.name, commands)
        and not (
            is_below(module, commands)
            and is_below(imported.name, ".".join(module.split(".")[:3]))
        )
    ]
    assert not wrong


def test_only_commands_print() -> None:
    """Libraries return values and tell an observer."""
    calls = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        if not is_below(module, "cli") and "print(" in path.read_text()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not calls
