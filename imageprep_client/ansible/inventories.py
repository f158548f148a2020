"""The hosts of a user's inventory, as ansible reads it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.ansible import configuration
from imageprep_client.host import inputs

_MAX_SIZE = 64 << 20
_FAILED = re.compile(r"Failed to parse .* plugin: ")
_PREFIX = re.compile(r"^\[?(ERROR|WARNING)\]?[:!] *")
_YAML = re.compile(r"with '?yaml'? plugin:")
_AUTO = re.compile(r"with '?auto'? plugin:")


@dataclasses.dataclass(frozen=True, slots=True)
class HostGroups:
    """Hosts, and the groups that they are in, also by way of other groups.

    :ivar hosts: those that a pattern selects, or all.
    :ivar groups: all hosts of each group, in the order of the inventory.
    :ivar variables: of all hosts; templates are not evaluated.
    """

    hosts: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    variables: Mapping[str, Mapping[str, Any]]


@contextlib.contextmanager
def readable(inventory: str) -> Iterator[str]:
    """A path that ansible reads an inventory from.

    OpenStack-Ansible keeps its inventory in the format that programs print,
    which ansible does not read from a file.
    """
    content = b""
    if os.path.isfile(inventory) and not os.access(inventory, os.X_OK):
        content = inputs.load(inventory, _MAX_SIZE)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        document = None
        if inventory.endswith(".json") and content:
            # Ansible would take each word of it for a host.
            raise errors.InvalidFile(inventory, f"no JSON: {error}") from None
    if not isinstance(document, dict) or "_meta" not in document:
        yield inventory
        return
    with tempfile.TemporaryDirectory(prefix="image-prepare-") as directory:
        printed = Path(directory, "inventory.json")
        printed.write_bytes(content)
        program = Path(directory, "inventory")
        program.write_text(
            f"#!/bin/sh\nexec cat {shlex.quote(str(printed))}\n"
        )
        program.chmod(0o700)
        yield str(program)


def check(inventory: str) -> None:
    """Check that an inventory and ansible are there.

    :raises InvalidArgument: when one is not.
    """
    configuration.check_installed("the inventory cannot be read")
    try:
        os.stat(inventory)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        reason = "no such inventory" if absent else errors.reason(error)
        raise errors.InvalidArgument(
            f"{inventory}: {reason}", hint=errors.as_root(error)
        ) from error


def unreadable(
    said: str, inventories: Mapping[str, str]
) -> errors.InvalidArgument:
    """The error for inventories that ansible could not read.

    :param inventories: the names that the user gave them, by their paths.
    """
    failed = [
        given
        for path, given in inventories.items()
        if f"inventory source {path}\n" in said
    ]
    why = reason(said)
    for path, given in inventories.items():
        why = why.replace(path, given)
    names = ", ".join(failed or inventories.values())
    return errors.InvalidArgument(f"{names}: {why}")


def without_hosts(
    inventory: str, pattern: str | None
) -> errors.InvalidArgument:
    """The error for an inventory without a selected host."""
    wanted = f" matches {pattern!r}" if pattern else ""
    return errors.InvalidArgument(f"{inventory}: no host{wanted}")


def reason(said: str) -> str:
    """The most informative line of a program that read an inventory."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if "[ERROR]: No inventory" not in line]
    failed = [line for line in lines if _FAILED.search(line)]
    # A plugin for configuration files of plugins says that it is none.
    others = [line for line in failed if not _AUTO.search(line)]
    told = (others or lines or ["it does not say why"])[:1]
    if others == failed and _YAML.search(told[0]):
        # The file has no suffix, and may be one in INI format.
        told = others[:2]
    return "; ".join(_PREFIX.sub("", line) for line in told)
