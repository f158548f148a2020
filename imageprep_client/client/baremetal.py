"""The composition root of what is done to images of disks on this host.

`client.baremetal_uploads` has what needs Glance or a registry, and loads more.
"""

from __future__ import annotations

from imageprep_client.baremetal.disks.formats import MAX_SIZE
from imageprep_client.baremetal.extracting import (
    PARTS,
    ExtractRequest,
    ExtractResult,
    extract,
)
from imageprep_client.baremetal.inspecting import Inspection, inspect

__all__ = [
    "MAX_SIZE",
    "PARTS",
    "ExtractRequest",
    "ExtractResult",
    "Inspection",
    "extract",
    "inspect",
]
