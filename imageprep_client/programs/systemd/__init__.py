"""systemd: the version that is installed, its units and its machines."""

from imageprep_client.programs.systemd.machines import (
    is_read_only,
    machine_leader,
    machine_state,
    set_read_only,
)
from imageprep_client.programs.systemd.units import (
    SystemdError,
    enable,
    is_running,
    reload,
    start,
    stop,
    version,
)

__all__ = [
    "SystemdError",
    "enable",
    "is_read_only",
    "is_running",
    "machine_leader",
    "machine_state",
    "reload",
    "set_read_only",
    "start",
    "stop",
    "version",
]
