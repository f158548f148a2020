"""Make the inventory and the plays for a run of ansible.

Every image is a host, so that ansible changes several at once, and there is
a play for each role. Names of images may come from registries and are never
evaluated as templates. Variables that the user wrote for the role are passed
on unchanged, with their templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imageprep_client.ansible import LOCAL, Inventory, Unsafe
from imageprep_client.modify.base import ImageChange

#: The name of the task that a host reaches when its image is changed.
DONE = "imageprep: the image is changed"


def host(index: int) -> str:
    """The name of a change in the inventory."""
    return f"image-{index}"


def plays(
    changes: Sequence[ImageChange], *, keep_going: bool
) -> Sequence[Mapping[str, Any]]:
    """Make a play for each role, for a group of `inventory`."""
    return [
        _play(group, *role, keep_going)
        for group, (role, _) in _groups(changes).items()
    ]


def inventory(changes: Sequence[ImageChange]) -> Inventory:
    """Make an inventory with each image as a host in the group of its role."""
    return Inventory(
        groups={
            group: {host(i): _variables(changes[i]) for i in indexes}
            for group, (_, indexes) in _groups(changes).items()
        },
        variables={**LOCAL, "ansible_become": False},
    )


def _groups(
    changes: Sequence[ImageChange],
) -> dict[str, tuple[tuple[str, str], list[int]]]:
    """The role of each group and the indexes of its changes."""
    roles: dict[tuple[str, str], list[int]] = {}
    for index, change in enumerate(changes):
        key = (change.ansible_role, change.tasks_from)
        roles.setdefault(key, []).append(index)
    return {f"role_{n}": role for n, role in enumerate(roles.items())}


def _variables(change: ImageChange) -> Mapping[str, Any]:
    return {
        **{k: v for k, v in change.variables.items() if k != "tasks_from"},
        "source_image": Unsafe(change.source_image),
        "target_image": Unsafe(change.target_image),
        "modified_append_tag": Unsafe(change.append_tag),
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
