"""systemd: the version that is installed, and its units."""

from imageprep_client.programs.systemd.units import (
    SystemdError,
    enable,
    is_running,
    reload,
    version,
)

__all__ = ["SystemdError", "enable", "is_running", "reload", "version"]
