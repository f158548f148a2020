"""Changes of the roots of machines on this host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client import machine_settings
from imageprep_client.machine import cloning
from imageprep_client.machine.cloning import ClonedMachine
from imageprep_client.machine.replacement import versions
from imageprep_client.machine.replacement.replacing import (
    KEEP,
    Replaced,
    ReplaceRequest,
    RootChanges,
)
from imageprep_client.machine.replacement.swap import Patience, SwapResult
from imageprep_client.machine.replacement.versions import KeptVersion
from imageprep_client.machine.roots import MachineRoot
from imageprep_client.observer import Observer

__all__ = [
    "KEEP",
    "ClonedMachine",
    "KeptVersion",
    "Patience",
    "ReplaceRequest",
    "Replaced",
    "RootChanges",
    "SwapResult",
    "changes",
    "clone",
    "kept",
]

_SILENT = Observer()


def changes(root: MachineRoot, observer: Observer = _SILENT) -> RootChanges:
    """The changes of a root, with journals below /var/lib/image-prepare.

    Or below ``XDG_STATE_HOME``, where that is set.
    """
    state = os.environ.get("XDG_STATE_HOME", "/var/lib")
    journals = Path(state).absolute() / "image-prepare" / "machine"
    return RootChanges(root, observer, journals=journals)


def kept(root: MachineRoot) -> list[KeptVersion]:
    """The kept versions of a root, the newest first."""
    return versions.kept(root.path)


def clone(
    base: MachineRoot, names: Sequence[str], settings: str | None = None
) -> Iterator[ClonedMachine]:
    """Make clones of a root, one after the other.

    :param settings: a declaration that the settings of each are written
        from; see `client.machine_settings`.
    :raises InvalidArgument: before anything is made, when one cannot be.
    """
    cloning.check(base, names)
    rendered = {}
    if settings is not None:
        if base.is_lxc:
            raise errors.InvalidArgument(
                f"{base.name}: is a container of LXC, which has no settings"
                " of systemd-nspawn",
                hint="leave --settings out",
            )
        rendered = {
            name: machine_settings.render(name, settings) for name in names
        }
    maker = cloning.Cloning(base)
    for name in names:
        made = maker.clone(name)
        if name in rendered:
            machine_settings.write(rendered[name])
        yield made
