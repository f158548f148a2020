"""systemd: the version that is installed, its units and its machines."""

from imageprep_client.programs.systemd.machines import (
    is_read_only,
    machine_leader,
    machine_state,
    machine_unit,
    set_read_only,
)
from imageprep_client.programs.systemd.units import (
    SystemdError,
    allow_start,
    enable,
    frozen,
    halt,
    is_active,
    is_loaded,
    is_running,
    reload,
    reload_files,
    restart,
    start,
    stop,
    version,
)

__all__ = [
    "SystemdError",
    "allow_start",
    "enable",
    "frozen",
    "halt",
    "is_active",
    "is_loaded",
    "is_read_only",
    "is_running",
    "machine_leader",
    "machine_state",
    "machine_unit",
    "reload",
    "reload_files",
    "restart",
    "set_read_only",
    "start",
    "stop",
    "version",
]
