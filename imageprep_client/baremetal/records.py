"""The images of one name in Glance, by their roles."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence, Set

from imageprep_client import errors
from imageprep_client.baremetal.glance import Glance, GlanceImage

#: The properties that identify images.
NAME = "image_prepare_name"
ROLE = "image_prepare_role"
GENERATION = "image_prepare_generation"
UPLOAD = "image_prepare_upload"
#: Properties that are set here, not by the user.
RESERVED = frozenset(
    {NAME, ROLE, GENERATION, UPLOAD, "img_type", "kernel_id", "ramdisk_id"}
)

DISK, ROOT = "disk", "root"
KERNEL, RAMDISK = "kernel", "ramdisk"
DEPLOY_KERNEL, DEPLOY_RAMDISK = "deploy-kernel", "deploy-ramdisk"
_PAIRS = {KERNEL: RAMDISK, DEPLOY_KERNEL: DEPLOY_RAMDISK}
#: The roles that one set may have.
_TOGETHER = (
    {DISK},
    {ROOT, KERNEL, RAMDISK},
    {DEPLOY_KERNEL, DEPLOY_RAMDISK},
)


@dataclasses.dataclass(frozen=True, slots=True)
class BaremetalImages:
    """The images of one name.

    :ivar images: all of them; several of a role where one was not finished.
    :ivar known: the IDs of images, of these and others, that exist.
    """

    name: str
    images: tuple[GlanceImage, ...]
    known: Set[str] = frozenset()

    def role(self, role: str) -> GlanceImage | None:
        """The newest whole image of a role."""
        return max(self._whole(role), key=generation, default=None)

    def _whole(self, role: str) -> list[GlanceImage]:
        return [
            image
            for image in self.images
            if image.properties[ROLE] == role and image.status == "active"
        ]

    @property
    def kind(self) -> str:
        """``whole-disk``, ``partition``, ``ramdisk`` or ``deploy``."""
        kinds = {
            DISK: "whole-disk",
            ROOT: "partition",
            DEPLOY_KERNEL: "deploy",
            DEPLOY_RAMDISK: "deploy",
        }
        roles = {image.properties[ROLE] for image in self.images}
        # A kernel and a ramdisk alone: for Ironic's ramdisk deploy interface.
        return next((k for r, k in kinds.items() if r in roles), "ramdisk")

    @property
    def problems(self) -> tuple[str, ...]:
        """The reasons why it cannot be deployed, and leftover images."""
        problems = [
            f"{image.properties[ROLE]} {image.id} is {image.status}"
            for image in self.images
            if image.status != "active"
        ]
        for image in self.images:
            problems += [
                f"{key} of {image.id} is gone: {other}"
                for key, other in _links(image).items()
                if other not in self.known
            ]
        for one, other in _PAIRS.items():
            present = [bool(self.role(one)), bool(self.role(other))]
            if sum(present) == 1:
                lost = other if present[0] else one
                problems.append(f"there is no {lost}")
        for role in sorted({i.properties[ROLE] for i in self.images}):
            count = len(self._whole(role))
            if count > 1:
                problems.append(f"there are {count} images as {role}")
        return tuple(problems)


def _links(image: GlanceImage) -> Mapping[str, str]:
    """The images that an image is to be booted with, by property."""
    return {
        key: image.properties[key]
        for key in ("kernel_id", "ramdisk_id")
        if image.properties.get(key)
    }


def generation(image: GlanceImage) -> int:
    """The number of older images of the same name and role."""
    value = image.properties.get(GENERATION, "0")
    return int(value) if value.isascii() and value.isdigit() else 0


def sets(service: Glance) -> list[BaremetalImages]:
    """All sets of the project, sorted by name."""
    grouped: dict[str, list[GlanceImage]] = {}
    listed = service.images()
    known = {image.id for image in listed}
    for image in listed:
        if NAME in image.properties and ROLE in image.properties:
            grouped.setdefault(image.properties[NAME], []).append(image)
    return [
        BaremetalImages(name, tuple(images), known)
        for name, images in sorted(grouped.items())
    ]


def find(service: Glance, name: str) -> BaremetalImages:
    """The set of a name.

    :raises NotFound: when there is none.
    """
    images = [
        image
        for image in service.images(**{NAME: name})
        if ROLE in image.properties
    ]
    if not images:
        raise errors.NotFound(
            f"{name}: no bare-metal image of this name in Glance",
            hint="list them: openstack image-prepare baremetal list",
        )
    known = {image.id for image in images}
    # A renamed image may share a kernel with the one in its place.
    linked = {other for image in images for other in _links(image).values()}
    known |= {other for other in linked - known if service.get(other)}
    return BaremetalImages(name, tuple(images), known)


def check_kind(service: Glance, name: str, roles: Set[str]) -> None:
    """Check that images of these roles can join the set of a name.

    Ironic would be given the settings of both, of which it can follow one.

    :raises InvalidArgument: when the set is of another kind.
    """
    there = service.images(**{NAME: name})
    own = [image for image in there if ROLE in image.properties]
    present = {image.properties[ROLE] for image in own}
    if not any(present | roles <= kind for kind in _TOGETHER):
        kind = BaremetalImages(name, tuple(own)).kind
        raise errors.InvalidArgument(
            f"{name}: Glance has a {kind} image of this name",
            hint="choose another name, or delete it first: openstack"
            f" image-prepare baremetal delete {shlex.quote(name)}",
        )


def delete(service: Glance, name: str) -> Sequence[GlanceImage]:
    """Delete the images of a name, those that name others first.

    :returns: what was deleted.
    :raises NotFound: when there is none.
    :raises PartialFailure: when some could not be deleted.
    """
    order = {DISK: 0, ROOT: 0}
    images = sorted(
        find(service, name).images,
        key=lambda i: order.get(i.properties[ROLE], 1),
    )
    failures: list[errors.ImagePrepError] = []
    deleted = []
    for image in images:
        try:
            service.delete(image.id)
        except errors.StoreError as error:
            failures.append(error)
        else:
            deleted.append(image)
    if failures and not deleted:
        raise failures[0]
    if failures:
        raise errors.PartialFailure(
            f"{name}: {len(failures)} of {len(images)} images are still there",
            failures,
        )
    return deleted


def settings(stored: BaremetalImages) -> dict[tuple[str, str], str]:
    """Ironic's settings of a node that is to have this image.

    :returns: by ``instance_info`` or ``driver_info``, and the key in it.
    """
    lines: dict[tuple[str, str], str] = {}
    disk = stored.role(DISK) or stored.role(ROOT)
    if disk:
        lines["instance_info", "image_source"] = disk.id
        lines["instance_info", "image_type"] = disk.properties["img_type"]
        lines["instance_info", "image_disk_format"] = disk.disk_format
        lines["instance_info", "image_os_hash_algo"] = disk.hash_algorithm
        lines["instance_info", "image_os_hash_value"] = disk.hash_value
    for kind, key, role in (
        ("instance_info", "kernel", KERNEL),
        ("instance_info", "ramdisk", RAMDISK),
        ("driver_info", "deploy_kernel", DEPLOY_KERNEL),
        ("driver_info", "deploy_ramdisk", DEPLOY_RAMDISK),
    ):
        if image := stored.role(role):
            lines[kind, key] = image.id
    line = next(
        (
            image.properties["os_command_line"]
            for image in stored.images
            if image.properties.get("os_command_line")
        ),
        "",
    )
    # It is that of an instance, and also that of the agent that writes a disk.
    if line and not disk:
        lines["instance_info", "kernel_append_params"] = line
    return lines


def metal3(images: BaremetalImages, endpoint: str) -> dict[str, str]:
    """The ``image`` of a Metal3 host that is to have this image.

    :param endpoint: URL of Glance, without a version.
    :raises InvalidArgument: when there is no whole-disk image.
    """
    disk = images.role(DISK)
    if disk is None:
        raise errors.InvalidArgument(
            f"{images.name}: has no whole-disk image, and Metal3 deploys no"
            " other",
            hint="register one: openstack image-prepare baremetal register"
            " NAME --whole-disk FILE",
        )
    return {
        "url": f"{endpoint}/v2/images/{disk.id}/file",
        "checksum": disk.hash_value,
        "checksumType": disk.hash_algorithm,
        "format": disk.disk_format,
    }
