"""The files that ansible reads: an inventory of images, and plays.

Every image is a host, so that ansible changes several at once, and there is
a play for each role. What is written here comes from three sides: names of
images come from registries, too, and are never taken for templates; what the
user has written for the role is handed on as it is, templates and all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from imageprep_client.modify.base import ImageChange

#: The name of the task that a host comes to when its image is done.
DONE = "imageprep: the image is changed"
PLAYBOOK = "project/modify.yaml"
_INVENTORY = "inventory/images.yaml"


class _Unsafe(str):
    """A text that ansible may not take for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, data: _Unsafe) -> yaml.ScalarNode:
    return dumper.represent_scalar("!unsafe", str(data), style="'")


_Dumper.add_representer(_Unsafe, _represent)


def host(index: int) -> str:
    """What a change is called in the inventory."""
    return f"image-{index}"


def write(
    directory: Path, changes: Sequence[ImageChange], *, keep_going: bool
) -> None:
    """Write what ansible-runner looks for in its directory.

    Only this user can read it.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index, change in enumerate(changes):
        key = (change.ansible_role, change.tasks_from)
        groups.setdefault(key, []).append(index)
    plays = []
    children = {}
    for number, (key, indexes) in enumerate(groups.items()):
        group = f"role_{number}"
        children[group] = {
            "hosts": {host(i): _variables(changes[i]) for i in indexes}
        }
        plays.append(_play(group, *key, keep_going))
    inventory = {"all": {"vars": _common(), "children": children}}
    _write(directory / _INVENTORY, inventory)
    _write(directory / PLAYBOOK, plays)


def _common() -> Mapping[str, Any]:
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
    }


def _variables(change: ImageChange) -> Mapping[str, Any]:
    return {
        **{k: v for k, v in change.variables.items() if k != "tasks_from"},
        "source_image": _Unsafe(change.source_image),
        "target_image": _Unsafe(change.target_image),
        "modified_append_tag": _Unsafe(change.append_tag),
        "container_build_tool": "buildah",
    }


def _play(
    group: str, ansible_role: str, tasks_from: str, keep_going: bool
) -> Mapping[str, Any]:
    include = {"name": ansible_role}
    if tasks_from:
        include["tasks_from"] = tasks_from
    return {
        "name": f"Change images with {ansible_role}",
        "hosts": group,
        "gather_facts": False,
        "any_errors_fatal": not keep_going,
        "tasks": [
            {
                "name": f"Include {ansible_role}",
                "ansible.builtin.include_role": include,
            },
            {"name": DONE, "ansible.builtin.debug": {"msg": "done"}},
        ],
    }


def _write(path: Path, document: object) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
