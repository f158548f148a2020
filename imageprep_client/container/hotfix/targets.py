"""The images of a hotfix: where they are, and the names of the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference
from imageprep_client.programs.buildah import Buildah, LocalImage

_LOCAL = "containers-storage:"
_REMOTE = "docker://"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One image to change.

    :ivar image: the name as the user gave it.
    :ivar reference: the full name with a tag.
    :ivar local: the image in local storage; None if it is not there.
    :ivar result: the name of the new image.
    """

    image: str
    reference: Reference
    local: LocalImage | None
    result: str


def find(images: Sequence[str], tag: str, buildah: Buildah) -> list[Target]:
    """Find each image in local storage, and name its result.

    :raises InputError: when a name cannot be used.
    """
    named: dict[str, Target] = {}
    for image in images:
        target = _target(image, tag, buildah)
        other = named.setdefault(target.result, target)
        if other is not target:
            raise errors.InvalidArgument(
                f"{image}: is the same image as {other.image}",
                hint="name each image once",
            )
    return list(named.values())


def check(wanted: Iterable[Target], buildah: Buildah) -> None:
    """Check that no new image exists.

    :raises InvalidArgument: when one exists.
    """
    taken = {name for image in buildah.images() for name in image.names}
    for target in wanted:
        if target.result in taken:
            raise errors.InvalidArgument(
                f"{target.result}: exists in local storage already",
                hint="choose another --tag, or remove it with: buildah rmi"
                f" {target.result}",
            )


def _target(image: str, tag: str, buildah: Buildah) -> Target:
    name = image.removeprefix(_LOCAL).removeprefix(_REMOTE)
    reference = Reference.parse(name)
    local = None if image.startswith(_REMOTE) else buildah.image(name)
    if local is not None:
        reference = _named(image, name, reference, local)
    elif image.startswith(_LOCAL):
        raise errors.InvalidArgument(
            f"{image}: is not in local storage", hint="look at: buildah images"
        )
    if reference.digest and not reference.tag:
        raise errors.InvalidArgument(
            f"{image}: has no tag that the new tag could begin with",
            hint="name the image as name:tag@digest",
        )
    reference = dataclasses.replace(reference, tag=reference.tag or "latest")
    result = references.check_tag(f"{reference.tag}-{tag}")
    return Target(
        image=image,
        reference=reference,
        local=local,
        result=f"{reference.name}:{result}",
    )


def _named(
    image: str, name: str, reference: Reference, local: LocalImage
) -> Reference:
    """The full name of a local image given by a part of its name or its ID."""
    full = f"{reference.name}:{reference.tag or 'latest'}"
    if full in local.names or (reference.digest and reference.tag):
        return dataclasses.replace(reference, digest="")
    tagged = name if reference.tag else f"{name}:latest"
    names = [x for x in local.names if x.endswith(f"/{tagged}")]
    names = names or list(local.names)
    if len(names) != 1:
        told = ", ".join(names) or "it has none"
        raise errors.InvalidArgument(
            f"{image}: the name is ambiguous: {told}",
            hint="name the image in full, or give it a name with: buildah tag",
        )
    return Reference.parse(names[0])
