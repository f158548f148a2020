"""What ansible is given: an inventory of images, and plays.

Every image is a host, so that ansible changes several at once, and there is
a play for each role. What is written here comes from three sides: names of
images come from registries, too, and are never taken for templates; what the
user has written for the role is handed on as it is, templates and all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imageprep_client.ansible import LOCAL, Inventory, Unsafe
from imageprep_client.modify.base import ImageChange

#: The name of the task that a host comes to when its image is done.
DONE = "imageprep: the image is changed"


def host(index: int) -> str:
    """What a change is called in the inventory."""
    return f"image-{index}"


def plays(
    changes: Sequence[ImageChange], *, keep_going: bool
) -> Sequence[Mapping[str, Any]]:
    """A play for each role, over a group of `inventory`."""
    return [
        _play(group, *role, keep_going)
        for group, (role, _) in _groups(changes).items()
    ]


def inventory(changes: Sequence[ImageChange]) -> Inventory:
    """Each image as a host, in the group of its role."""
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
    """The role of each group, and the changes that are in it."""
    roles: dict[tuple[str, str], list[int]] = {}
    for index, change in enumerate(changes):
        key = (change.ansible_role, change.tasks_from)
        roles.setdefault(key, []).append(index)
    return {f"role_{n}": each for n, each in enumerate(roles.items())}


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
