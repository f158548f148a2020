"""The directory of what commands keep between runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_directory(
    name: str, environment: Mapping[str, str] = os.environ
) -> Path:
    """The directory of the state of a family of commands."""
    state = environment.get("XDG_STATE_HOME")
    if not state and os.geteuid() == 0:
        return Path("/var/lib/image-prepare", name)
    return Path(state or Path.home() / ".local/state", "image-prepare", name)
