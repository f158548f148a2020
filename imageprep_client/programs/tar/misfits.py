"""Files that an archive can have and that must not be unpacked."""

from __future__ import annotations

from pathlib import Path

from imageprep_client.programs.process import Program
from imageprep_client.programs.tar.process import ENVIRONMENT, TarError

_FIND = Program("find", ENVIRONMENT, package="findutils", error=TarError)


def misfits(root: Path) -> tuple[list[str], list[str]]:
    """The devices below a root, and what has control characters in its name.

    What is below ``/dev`` and on other file systems does not count.

    :returns: paths relative to the root.
    """
    # Files that vanish meanwhile are not an error.
    told = _FIND.attempt(
        *(
            "-H",
            str(root),
            "-xdev",
            "-path",
            f"{root}/dev",
            "-prune",
            "-o",
            "(",
        ),
        *("-type", "b", "-o", "-type", "c", "-o", "-name", "*[[:cntrl:]]*"),
        *(")", "-printf", r"%y %P\0"),
    )
    devices: list[str] = []
    names: list[str] = []
    for line in filter(None, told.stdout.split("\0")):
        kind, _, path = line.partition(" ")
        (devices if kind in ("b", "c") else names).append(path)
    return sorted(devices), sorted(names)
