"""LXC, by its programs."""

from imageprep_client.programs.lxc.containers import (
    LxcContainer,
    LxcError,
    LxcState,
    default_path,
)

__all__ = ["LxcContainer", "LxcError", "LxcState", "default_path"]
