"""Imports of machines: a verified archive into a new root."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.machine.archives import UnpackedRoot
from imageprep_client.machine.roots import (
    MachineRoot,
    RootStore,
    RootStoreKind,
    check_name,
    clean_temporary,
    find,
    remove,
)
from imageprep_client.machine.roots.lxc_config import LxcConfig
from imageprep_client.programs import btrfs, systemd


@dataclasses.dataclass(frozen=True, slots=True)
class ImportTarget:
    """The place for a new root.

    :ivar path: nothing is there yet, or an empty directory.
    """

    name: str
    store: RootStore
    path: Path


def target(name: str, store: RootStore) -> ImportTarget:
    """The place for the root of a new machine; nothing is written.

    An LXC container has to be defined already, as LXC keeps it when only its
    root is removed.

    :raises InvalidArgument: when there is a machine of the name, or no
        container.
    """
    check_name(name)
    path = store.path / name
    if store.kind is RootStoreKind.LXC:
        config = path / "config"
        if not config.is_file():
            raise errors.InvalidArgument(
                f"{name}: no LXC container of this name is defined in"
                f" {store.path}",
                hint="create it with lxc-create -t none, or import into"
                " --store machines",
            )
        scheme, colon, rest = LxcConfig.read(config).rootfs.partition(":")
        if colon and scheme not in ("dir", "btrfs"):
            raise errors.InvalidArgument(
                f"{name}: its root is kept by {scheme}",
                hint="roots in directories and in btrfs can be imported",
            )
        path = Path(rest or scheme or path / "rootfs")
    if path.is_symlink() or (path.exists() and not _is_empty(path)):
        raise errors.InvalidArgument(
            f"{name}: {path} already exists",
            hint="replace its root with: openstack image-prepare machine"
            f" replace {name} --from ...",
        )
    if not path.parent.is_dir():
        raise errors.InvalidArgument(f"{path.parent}: no such directory")
    return ImportTarget(name, store, path)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def import_root(
    place: ImportTarget,
    fill: Callable[[Path, Path], UnpackedRoot],
    *,
    read_only: bool,
) -> tuple[MachineRoot, UnpackedRoot]:
    """Make a new root; the machine appears when it is complete.

    :param fill: is given the path of the root, for messages, and unpacks it
        into an empty directory elsewhere.
    :raises BadArchive: when it may not be unpacked; nothing of it is left.
    :raises NoSpace: likewise, when there is no room for it.
    """
    # Told while what has no room is there.
    with _staged(place) as staged, disk.reported(place.path):
        unpacked = fill(place.path, staged)
        disk.synchronise(staged)
        if place.path.exists():
            place.path.rmdir()
        staged.rename(place.path)
    if read_only:
        systemd.set_read_only(place.path)
    return find(place.name, str(place.store.path)), unpacked


def check_root(root: Path, archive: str) -> None:
    """Check that a directory can be the root of a machine.

    :raises InvalidContent: when it is none.
    """
    if not any((root / name).exists() for name in ("usr", "bin", "etc")):
        raise errors.InvalidContent(
            f"{archive}: has no root file system: no /usr, /bin or /etc"
        )


@contextlib.contextmanager
def _staged(place: ImportTarget) -> Iterator[Path]:
    """An empty directory that only root can reach, beside the target."""
    above = place.path.parent
    staging = clean_temporary(above, place.name, "import")
    try:
        staging.mkdir(mode=0o700)
    except OSError as error:
        raise errors.InvalidArgument(
            f"{above}: cannot be written: {errors.reason(error)}",
            hint=errors.as_root(error),
        ) from error
    root = staging / "root"
    try:
        with disk.reported(place.path):
            if btrfs.is_btrfs(staging):
                btrfs.create(root)
            else:
                root.mkdir()
            # The archive may not have it; nobody else can reach it yet.
            root.chmod(0o755)
        yield root
    finally:
        remove(staging)
