"""The composition root of what is done to images of disks on this host.

`client.baremetal_uploads` has what needs Glance or a registry, and loads more.
"""

from __future__ import annotations

from imageprep_client.baremetal import extracting, inspecting
from imageprep_client.baremetal.disks.formats import MAX_SIZE
from imageprep_client.baremetal.extracting import (
    PARTS,
    ExtractRequest,
    ExtractResult,
)
from imageprep_client.baremetal.inspecting import Inspection
from imageprep_client.observer import Observer

__all__ = [
    "MAX_SIZE",
    "PARTS",
    "BaremetalClient",
    "ExtractRequest",
    "ExtractResult",
    "Inspection",
]

_SILENT = Observer()


class BaremetalClient:
    """Looks into images of disks, and takes them apart."""

    def inspect(self, path: str, max_size: int = MAX_SIZE) -> Inspection:
        """Look into an image file; see `baremetal.inspecting.inspect`."""
        return inspecting.inspect(path, max_size)

    def extract(
        self, request: ExtractRequest, observer: Observer = _SILENT
    ) -> ExtractResult:
        """Kernel, ramdisk and root; see `baremetal.extracting.extract`."""
        return extracting.extract(request, observer)
