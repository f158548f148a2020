"""The changes that roles make to images, and the names of their results."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

from imageprep_client import errors
from imageprep_client.container.worklist import Modification, WorkItem
from imageprep_client.modify.base import ImageChange
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference


def check(items: Iterable[WorkItem]) -> None:
    """Check that modified images have a destination.

    :raises InvalidFile: when one has none.
    """
    for item in items:
        if item.modification and not item.push_destination:
            raise item.entry.error(
                "modified images have no destination",
                "modify_role",
                "put a push_destination into this entry",
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
        # Names in local storage cannot have IPv6 addresses or directories.
        return _own(str(reference), reference.repository, tag)
    return f"{reference.name}:{tag}"


def _own(text: str, repository: str, tag: str) -> str:
    """A unique name for a reference that local storage cannot name."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"localhost/{mark}/{repository}:{tag}"


def change(item: WorkItem) -> ImageChange:
    """The change of an item.

    The target has the name that the parameters give to the image if local
    storage can use it.
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
    """Group the items by the local name of their source.

    :raises InvalidFile: when two images would have the same name.
    """
    groups: dict[str, list[WorkItem]] = {}
    for item in items:
        same = groups.setdefault(_local(item.source), [])
        if same and same[0].source != item.source:
            raise item.entry.error(
                f"{item.source} and {same[0].source} have the same name",
                hint="modify one of them in a run of its own",
            )
        same.append(item)
    return groups


def made(
    change: ImageChange, changes: Sequence[ImageChange], names: Collection[str]
) -> str:
    """The name of the image that a role made; empty if there is none."""
    if change.result in names:
        return change.result
    # The name without the target is ambiguous for two changes of one image.
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
    """The error of a role that did not make an image."""
    return errors.ModifyError(
        f"{change.source_image}: ansible role {change.ansible_role} finished,"
        f" but there is no {change.result}",
        hint="a role must tag its result <target_image><modified_append_tag>",
    )
