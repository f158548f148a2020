"""Archives of root file systems: packed, judged and unpacked."""

from imageprep_client.machine.archives.unpacking import (
    UnpackedRoot,
    UnpackLimits,
    unpack,
)

__all__ = ["UnpackLimits", "UnpackedRoot", "unpack"]
