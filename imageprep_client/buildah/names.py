"""Names for what has to go when a process is gone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

#: How all names begin that this package gives for a while.
PREFIX = "imageprep-"


def own_name() -> str:
    """A name for what has to go when this process is gone."""
    process = os.getpid()
    token = secrets.token_hex(4)
    return f"{PREFIX}{process}-{_start_of(process)}-{token}"


def is_abandoned(name: str) -> bool:
    """Whether `own_name` gave it, in a process that is no more."""
    process, _, rest = name.removeprefix(PREFIX).partition("-")
    if not name.startswith(PREFIX) or not process.isdigit():
        return False
    return _start_of(int(process)) != rest.partition("-")[0]


def _start_of(process: int) -> str:
    """When a process started, in ticks; empty when there is none.

    With its number it is a name that no other process of this boot has.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]
