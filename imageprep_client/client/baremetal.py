"""The composition root of bare-metal images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.baremetal import (
    extracting,
    inspecting,
    records,
    registering,
)
from imageprep_client.baremetal.disks.formats import MAX_SIZE
from imageprep_client.baremetal.extracting import (
    PARTS,
    ExtractRequest,
    ExtractResult,
)
from imageprep_client.baremetal.glance import Glance, GlanceImage
from imageprep_client.baremetal.inspecting import Inspection
from imageprep_client.baremetal.records import BaremetalImages
from imageprep_client.baremetal.registering import RegisteredImage
from imageprep_client.baremetal.registration import (
    EXISTING,
    VISIBILITIES,
    RegisterRequest,
)
from imageprep_client.observer import Observer

__all__ = [
    "EXISTING",
    "MAX_SIZE",
    "PARTS",
    "VISIBILITIES",
    "BaremetalClient",
    "BaremetalImages",
    "ExtractRequest",
    "ExtractResult",
    "Inspection",
    "RegisterRequest",
    "RegisteredImage",
]

#: Makes the connection to the cloud when it is first needed.
Connect = Callable[[], Any]

_SILENT = Observer()


class BaremetalClient:
    """Everything that the ``baremetal`` commands can do.

    :param connect: for what needs Glance; what it raises is raised.
    """

    def __init__(self, connect: Connect | None = None) -> None:
        self._connect = connect

    def inspect(self, path: str, max_size: int = MAX_SIZE) -> Inspection:
        """Look into an image file; see `baremetal.inspecting.inspect`."""
        return inspecting.inspect(path, max_size)

    def extract(
        self, request: ExtractRequest, observer: Observer = _SILENT
    ) -> ExtractResult:
        """Kernel, ramdisk and root; see `baremetal.extracting.extract`."""
        return extracting.extract(request, observer)

    def register(
        self, request: RegisterRequest, observer: Observer = _SILENT
    ) -> list[RegisteredImage]:
        """Upload to Glance; see `baremetal.registering.register`."""
        return registering.register(request, self._glance, observer)

    def sets(self) -> list[BaremetalImages]:
        """All bare-metal images of the project, by name."""
        return records.sets(self._glance())

    def show(
        self, name: str
    ) -> tuple[BaremetalImages, dict[tuple[str, str], str]]:
        """The images of a name, and what Ironic is told of a node.

        :raises NotFound: when there is none.
        """
        found = records.find(self._glance(), name)
        return found, records.settings(found)

    def delete(self, name: str) -> Sequence[GlanceImage]:
        """Delete the images of a name; see `baremetal.records.delete`."""
        return records.delete(self._glance(), name)

    def _glance(self) -> Glance:
        if self._connect is None:
            raise errors.InvalidArgument("Glance cannot be used: no cloud")
        return Glance(self._connect())
