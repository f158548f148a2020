"""LXC, by its programs."""

from imageprep_client.programs.lxc.containers import (
    LxcContainers,
    LxcError,
    LxcState,
    default_path,
)

__all__ = ["LxcContainers", "LxcError", "LxcState", "default_path"]
