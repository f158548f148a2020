"""Write the files that ansible reads: playbooks and inventories."""

from __future__ import annotations

import dataclasses
import os
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

#: Variables of a host in the inventory that is this host.
LOCAL: Mapping[str, Any] = types.MappingProxyType(
    {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }
)


class Unsafe(str):
    """A text that ansible does not evaluate as a template."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Hosts in groups.

    :ivar groups: the variables of each host, by group and host.
    :ivar variables: variables of all hosts, such as ``ansible_connection``.
    """

    groups: Mapping[str, Mapping[str, Mapping[str, Any]]]
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def hosts(self) -> Sequence[str]:
        hosts = (name for group in self.groups.values() for name in group)
        return list(dict.fromkeys(hosts))

    def document(self) -> Mapping[str, Any]:
        """The inventory in the format of ansible."""
        children = {name: {"hosts": g} for name, g in self.groups.items()}
        return {"all": {"vars": dict(self.variables), "children": children}}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, data: Unsafe) -> yaml.ScalarNode:
    return dumper.represent_scalar("!unsafe", str(data), style="'")


_Dumper.add_representer(Unsafe, _represent)


def write(path: Path, document: object) -> None:
    """Write a YAML file that only this user can read.

    Missing parent directories are made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
