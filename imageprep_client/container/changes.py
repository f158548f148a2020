"""The variables for a modifying role, and the image that it made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence

from imageprep_client import errors
from imageprep_client.container.worklist import Modification, WorkItem
from imageprep_client.modify.base import ImageChange
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference

#: The role whose variables are known, and its variables that name directories
#: with the file that has to be in each.
_ROLE = "tripleo-modify-image"
_DIRECTORIES = {
    "modify_dir_path": "Dockerfile",
    "python_dir": "",
    "rpms_path": "",
    "yum_repos_dir_path": "",
}


def check_directories(item: WorkItem) -> None:
    """See that the directories exist that the role will read.

    Templates and relative paths are left for the role.

    :raises InvalidFile: when one does not.
    """
    wanted = _modification(item)
    if wanted.ansible_role != _ROLE:
        return
    for name, file in _DIRECTORIES.items():
        value = wanted.variables.get(name)
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, str) or path[:1] != "/" or "{" in path:
                continue
            if not os.path.isdir(path):
                problem = f"{path}: no such directory"
            elif not os.path.exists(os.path.join(path, file)):
                problem = f"{path}: there is no {file} in it"
            else:
                continue
            raise errors.InvalidFile(
                item.entry.path,
                problem,
                key=f"{item.entry.key}.modify_vars.{name}",
                hint="create it before the run",
            )


def check(items: Iterable[WorkItem]) -> None:
    """See that what is modified goes somewhere.

    :raises InvalidFile: when it does not.
    """
    for item in items:
        if item.modification and not item.push_destination:
            raise errors.InvalidFile(
                item.entry.path,
                "modified images have nowhere to go",
                key=f"{item.entry.key}.modify_role",
                hint="put a push_destination into this entry",
            )


def _modification(item: WorkItem) -> Modification:
    if item.modification is None:
        raise AssertionError(f"{item.image} is not to be modified")
    return item.modification


def _local(reference: Reference) -> str:
    """The name of a reference in local storage."""
    tag = reference.tag or "latest"
    registry = reference.registry
    if "[" in registry or references.is_transport(registry):
        # Local storage has no names with addresses of IPv6 or directories.
        return _own(str(reference), reference.repository, tag)
    return f"{reference.name}:{tag}"


def _own(text: str, repository: str, tag: str) -> str:
    """A name that nothing else has, for what has none in local storage."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"localhost/{mark}/{repository}:{tag}"


def change(item: WorkItem) -> ImageChange:
    """The change that a role is to make.

    The target has the name that the parameters give the image, unless they
    give it none that an image can have.
    """
    wanted = _modification(item)
    name = item.target[: len(item.target) - len(wanted.append_tag)]
    try:
        target = _local(Reference.parse(name))
    except errors.InvalidReference:
        tag = item.tag[: len(item.tag) - len(wanted.append_tag)]
        target = _own(name, item.repository, tag)
    return ImageChange(
        source_image=_local(item.source),
        target_image=target,
        append_tag=wanted.append_tag,
        ansible_role=wanted.ansible_role,
        variables=wanted.variables,
    )


def by_source(items: Sequence[WorkItem]) -> dict[str, list[WorkItem]]:
    """The items by the local name of their source.

    :raises InvalidFile: when there would be two images of one name.
    """
    found: dict[str, list[WorkItem]] = {}
    for item in items:
        same = found.setdefault(_local(item.source), [])
        if same and same[0].source != item.source:
            raise errors.InvalidFile(
                item.entry.path,
                f"{item.source} and {same[0].source} have the same name",
                key=item.entry.key,
                hint="modify one of them in a run of its own",
            )
        same.append(item)
    return found


def made(
    change: ImageChange,
    changes: Sequence[ImageChange],
    names: Collection[str],
) -> str:
    """The name of the image that a role made; empty when there is none."""
    if change.result in names:
        return change.result
    # Two changes of one image would have the same name without the target.
    sharing = [c for c in changes if c.other_result == change.other_result]
    if change.other_result in names and len(sharing) == 1:
        return change.other_result
    return ""


def ended_early(change: ImageChange) -> errors.ModifyError:
    """The error of a change that did not finish, for an unknown reason."""
    return errors.ModifyError(
        f"{change.source_image}: ansible role {change.ansible_role}: ansible"
        " ended before the image was made"
    )


def made_nothing(change: ImageChange) -> errors.ModifyError:
    """The error of a role that did not do its work."""
    return errors.ModifyError(
        f"{change.source_image}: ansible role {change.ansible_role} came to"
        f" its end, but there is no {change.result}",
        hint="a role has to tag what it makes <target_image><modified_append_"
        "tag>",
    )
