"""The images of services: resolved, pulled and verified before a change."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from imageprep_client import errors, wording
from imageprep_client.host import disk
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.programs.podman import (
    ContainerImage,
    Podman,
    PullOptions,
)

#: The registry of images that are only in local storage.
LOCAL = "localhost"
#: Bytes that must be free for the containers when all is pulled.
_RESERVE = 32 << 20
#: Bytes on the disk for each byte of a compressed layer.
_UNPACKED = 2


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image as its registry has it.

    :ivar digest: of the manifest or index that the reference names.
    :ivar size: bytes of its compressed layers; 0 where unknown.
    """

    digest: str
    size: int = 0


class ImageRegistries(Protocol):
    """Registries, as the use cases need them."""

    def look_up(self, reference: Reference) -> RemoteImage:
        """The image behind a tag or digest.

        :raises StoreError: when it is absent or cannot be found out.
        """
        ...

    def admit(self, reference: Reference, digest: str) -> None:
        """Check that the signature policy of this host accepts an image.

        :param reference: as it was declared.
        :param digest: of what is to be pulled.
        :raises PolicyRefused: when it does not.
        """
        ...

    def pull_options(self, reference: Reference) -> PullOptions: ...


@dataclasses.dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image that a service is to have.

    :ivar name: the reference, as it was declared.
    :ivar pinned: the reference with its digest, or a local name.
    :ivar digest: the one that was resolved.
    :ivar local: the image on this host; None before it is pulled.
    :ivar size: bytes of its compressed layers.
    """

    name: str
    pinned: str
    digest: str
    local: ContainerImage | None = None
    size: int = 0

    @property
    def digests(self) -> frozenset[str]:
        """The digests that a container of this image may show."""
        return frozenset({self.digest}) | (
            self.local.digests if self.local else frozenset()
        )


def resolve(
    name: str, podman: Podman, registries: ImageRegistries
) -> ResolvedImage:
    """Find the digest of an image; nothing is pulled.

    :raises StoreError: when its registry does not tell, or when it has to be
        pulled and the signature policy does not accept it.
    """
    reference = Reference.parse(name)
    if reference.registry == LOCAL:
        return _local(name, podman)
    if reference.digest:
        pinned = f"{reference.name}@{reference.digest}"
        local = _with_digest(podman.image(pinned), reference.digest)
        if local:
            return ResolvedImage(name, pinned, reference.digest, local)
    remote = registries.look_up(reference)
    pinned = f"{reference.name}@{remote.digest}"
    local = _with_digest(podman.image(pinned), remote.digest)
    if local is None:
        registries.admit(reference, remote.digest)
    return ResolvedImage(name, pinned, remote.digest, local, remote.size)


def _local(name: str, podman: Podman) -> ResolvedImage:
    image = podman.image(name)
    if image is None:
        raise errors.NotFound(
            f"{name}: no such image in local storage",
            hint="list the images with: podman images",
        )
    return ResolvedImage(name, image.id, image.digest, image)


def _with_digest(
    image: ContainerImage | None, digest: str
) -> ContainerImage | None:
    return image if image and digest in image.digests else None


def check_space(images: Sequence[ResolvedImage], storage: Path) -> None:
    """Check that there is room for the images that have to be pulled.

    :raises NoSpace: when there is not.
    """
    lacking = {one.digest: one.size for one in images if one.local is None}
    needed = _RESERVE + _UNPACKED * sum(lacking.values())
    free = disk.free_space(storage)
    if free < needed:
        raise errors.NoSpace(
            f"{storage}: {wording.size(needed)} are needed,"
            f" {wording.size(free)} are free; nothing was stopped",
            needed=needed,
            free=free,
            hint="make room there, as with: podman image prune",
        )


def pull(
    image: ResolvedImage,
    podman: Podman,
    registries: ImageRegistries,
    observer: Observer,
) -> ResolvedImage:
    """Pull an image unless this host has it, with the right digest.

    :raises StoreError: when it cannot be pulled.
    """
    if image.local:
        return image
    observer.image_started(image.pinned)
    podman.pull(
        image.pinned, registries.pull_options(Reference.parse(image.pinned))
    )
    local = podman.image(image.pinned)
    if local is None or image.digest not in local.digests:
        raise errors.DigestMismatch(
            f"{image.pinned}: podman has pulled another image",
            actual=local.digest if local else None,
        )
    observer.note(f"{image.pinned}: pulled")
    observer.image_finished(image.pinned, ImageOutcome.PRESENT)
    return dataclasses.replace(image, local=local)
