"""The composition root of bare-metal images in Glance and registries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.baremetal import artifact, records, registering
from imageprep_client.baremetal.artifact import ArtifactFile, PushedIndex
from imageprep_client.baremetal.glance import Glance, GlanceImage
from imageprep_client.baremetal.records import BaremetalImages
from imageprep_client.baremetal.registering import RegisteredImage
from imageprep_client.baremetal.registration import (
    EXISTING,
    VISIBILITIES,
    RegisterRequest,
)
from imageprep_client.client.locations import tagged
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.observer import SILENT, Observer
from imageprep_client.oci import reference as references

__all__ = [
    "EXISTING",
    "VISIBILITIES",
    "ArtifactFile",
    "BaremetalImages",
    "BaremetalUploads",
    "PushedIndex",
    "RegisterRequest",
    "RegisteredImage",
]

#: Makes the connection to the cloud when it is first needed.
Connect = Callable[[], Any]


class BaremetalUploads:
    """Registers, pushes, lists, shows and deletes bare-metal images.

    :param connect: for what needs Glance; what it raises is raised.
    """

    def __init__(self, connect: Connect | None = None) -> None:
        self._connect = connect

    def register(
        self, request: RegisterRequest, observer: Observer = SILENT
    ) -> list[RegisteredImage]:
        """Upload to Glance; see `baremetal.registering.register`."""
        return registering.register(request, self._glance, observer)

    def sets(self) -> list[BaremetalImages]:
        """All bare-metal images of the project, by name."""
        return records.sets(self._glance())

    def show(
        self, name: str
    ) -> tuple[BaremetalImages, dict[tuple[str, str], str]]:
        """The images of a name, and the settings of a node in Ironic.

        :raises NotFound: when there is none.
        """
        images = records.find(self._glance(), name)
        return images, records.settings(images)

    def metal3(
        self, name: str, options: RegistryOptions, architecture: str
    ) -> dict[str, str]:
        """The ``image`` of a Metal3 host.

        :param name: of an image in Glance, or ``HOST/REPOSITORY:TAG`` of
            what was pushed.
        :raises NotFound: when there is none.
        :raises InvalidArgument: when Metal3 cannot deploy it.
        """
        if "/" not in name:
            glance = self._glance()
            return records.metal3(records.find(glance, name), glance.endpoint)
        place, image = tagged(name)
        if references.is_transport(place):
            raise errors.InvalidArgument(
                f"{name}: nodes deploy from registries",
                hint="name the registry that serves it: HOST/REPOSITORY:TAG",
            )
        reference = dataclasses.replace(image, registry=place)
        with Stores(options, SILENT) as stores:
            return artifact.metal3(
                stores.source(reference), reference, architecture
            )

    def delete(self, name: str) -> Sequence[GlanceImage]:
        """Delete the images of a name; see `baremetal.records.delete`."""
        return records.delete(self._glance(), name)

    def push(
        self,
        files: Sequence[ArtifactFile],
        location: str,
        options: RegistryOptions,
        observer: Observer = SILENT,
    ) -> PushedIndex:
        """Push files as an OCI index; see `baremetal.artifact.push`.

        :param location: ``HOST/REPOSITORY:TAG``, ``oci:DIR//REPOSITORY:TAG``
            or ``image-serve:DIR//REPOSITORY:TAG``.
        """
        place, name = tagged(location)
        with Stores(options, observer) as stores:
            store = stores.destination(place, name.repository)
            with stores.locked(observer.waiting):
                return artifact.push(
                    files,
                    store,
                    name.tag,
                    observer,
                    concurrency=options.concurrency,
                    is_locked=references.is_transport(place),
                )

    def _glance(self) -> Glance:
        if self._connect is None:
            raise errors.InvalidArgument("Glance cannot be used: no cloud")
        return Glance(self._connect())
