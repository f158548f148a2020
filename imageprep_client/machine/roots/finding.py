"""Finding the roots of machines on this host."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.machine.roots.lxc_config import LxcConfig
from imageprep_client.machine.roots.removal import abandoned
from imageprep_client.machine.roots.root import (
    MachineRoot,
    RootKind,
    RootStore,
    RootStoreKind,
    check_name,
)
from imageprep_client.programs import btrfs, lxc

MACHINES = Path("/var/lib/machines")
#: What marks a container that is being cloned; see `removal.temporary`.
CLONE = "container"
_KINDS = {
    "dir": RootKind.LXC_DIR,
    "btrfs": RootKind.LXC_BTRFS,
    "overlay": RootKind.LXC_OVERLAY,
    "overlayfs": RootKind.LXC_OVERLAY,
}
_KINDS_TEXT = "dir, btrfs and overlayfs are supported"


def open_store(text: str) -> RootStore:
    """The directory of roots that ``--store`` names.

    :param text: ``lxc``, ``machines`` or a directory.
    :raises InvalidArgument: when there is no such directory.
    """
    if text == RootStoreKind.LXC:
        return _existing(RootStore(RootStoreKind.LXC, lxc.default_path()))
    if text == RootStoreKind.MACHINES:
        return _existing(RootStore(RootStoreKind.MACHINES, MACHINES))
    path = Path(text).absolute()
    kind = RootStoreKind.MACHINES
    if path == lxc.default_path() or any(map(_is_lxc, _folders(path))):
        kind = RootStoreKind.LXC
    return _existing(RootStore(kind, path))


def list_roots(store: str | None = None) -> list[MachineRoot]:
    """The roots of a store, or of all; by name.

    Containers whose roots are not files of this host are left out.

    :param store: see `open_store`.
    """
    roots = _owned([root for place in stores(store) for root in _roots(place)])
    return sorted(roots, key=lambda root: (root.name, root.store.path))


def _roots(place: RootStore) -> list[MachineRoot]:
    """Those of a store that can be used."""
    folders = _folders(place.path)
    unfinished = {name for _, name in abandoned(place.path, CLONE)}
    roots = [
        _root(place, folder.name, strict=False)
        for folder in folders
        if folder.name not in unfinished
    ]
    return [root for root in roots if root is not None]


def _owned(roots: Sequence[MachineRoot]) -> list[MachineRoot]:
    """Each root once, as that of the LXC container that it belongs to.

    OpenStack-Ansible had them in the directory of systemd's machines.
    """
    owners: dict[Path, MachineRoot] = {}
    if not all(root.is_lxc for root in roots):
        place = RootStore(RootStoreKind.LXC, lxc.default_path())
        # A user without access to it cannot use its containers, either.
        with contextlib.suppress(errors.InvalidArgument):
            owners = {root.path.resolve(): root for root in _roots(place)}
    paths = {root.path.resolve(): root for root in roots}
    return [owners.get(path, root) for path, root in paths.items()]


def find(name: str, store: str | None = None) -> MachineRoot:
    """The root of a machine.

    :param store: see `open_store`; None: wherever there is one.
    :raises InvalidArgument: when there is none, or more than one, or it is of
        a kind that is not supported.
    """
    check_name(name)
    places = stores(store)
    for place in places:
        if any(name == other for _, other in abandoned(place.path, CLONE)):
            raise errors.InvalidArgument(
                f"{name}: its clone was not finished, and may have the"
                " identity of another machine",
                hint="clone it again: openstack image-prepare machine clone"
                f" <base> {name}",
            )
    roots = _owned(
        [
            root
            for place in places
            if (root := _root(place, name, strict=True)) is not None
        ]
    )
    if not roots:
        where = " or ".join(str(place.path) for place in places)
        raise errors.InvalidArgument(
            f"{name}: no machine of this name in {where or 'any store'}",
            hint="look at: openstack image-prepare machine list"
            + (f" --store {shlex.quote(store)}" if store else ""),
        )
    if len(roots) > 1:
        raise errors.InvalidArgument(
            f"{name}: in {roots[0].store.path} and {roots[1].store.path}",
            hint="say which one is meant with --store",
        )
    return roots[0]


def stores(text: str | None) -> Sequence[RootStore]:
    """The store of a name, see `open_store`; None: all of this host."""
    if text is not None:
        return [open_store(text)]
    places = (
        RootStore(RootStoreKind.LXC, lxc.default_path()),
        RootStore(RootStoreKind.MACHINES, MACHINES),
    )
    return [place for place in places if place.path.is_dir()]


def _existing(store: RootStore) -> RootStore:
    if not store.path.is_dir():
        raise errors.InvalidArgument(
            f"--store {store.path}: no such directory",
            hint="name lxc, machines, or a directory that has roots",
        )
    return store


def _folders(path: Path) -> list[Path]:
    """The directories in a store that may belong to machines."""
    try:
        return sorted(
            entry
            for entry in path.iterdir()
            if not entry.name.startswith(".")
            # A kept version of another root; see `replacement.versions`.
            and "~" not in entry.name
            and entry.is_dir()
            and not entry.is_symlink()
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.InvalidArgument(
            f"{path}: cannot be read: {errors.reason(error)}",
            hint=errors.as_root(error),
        ) from error


def _is_lxc(folder: Path) -> bool:
    """Whether a directory of a store is that of an LXC container."""
    config = folder / "config"
    return config.is_file() and b"lxc." in config.read_bytes()[:65536]


def _root(store: RootStore, name: str, *, strict: bool) -> MachineRoot | None:
    """The root of a machine in a store; None where there is none.

    :param strict: raise an error for a root that cannot be used, in place of
        leaving it out.
    """
    folder = store.path / name
    if store.kind is RootStoreKind.LXC:
        if not (folder / "config").is_file():
            return None
        try:
            return _container(store, name)
        except errors.InputError:
            if strict:
                raise
            return None
    if folder.is_symlink() or not folder.is_dir():
        return None
    subvolume = btrfs.is_subvolume(folder)
    return MachineRoot(
        name=name,
        kind=RootKind.SUBVOLUME if subvolume else RootKind.DIRECTORY,
        store=store,
        path=folder,
    )


def _container(store: RootStore, name: str) -> MachineRoot:
    config = LxcConfig.read(store.path / name / "config")
    scheme, colon, rest = config.rootfs.partition(":")
    if not colon or scheme.startswith("/"):
        # LXC itself looks at what is there.
        scheme, rest = "", config.rootfs
    path = Path(rest or store.path / name / "rootfs")
    lower = None
    if scheme in ("overlay", "overlayfs"):
        below, _, above = rest.rpartition(":")
        lower, path = Path(below), Path(above)
        if not below or ":" in below.removeprefix("overlayfs:"):
            raise errors.InvalidFile(
                str(config.path),
                "an overlay of more than two directories",
                key="lxc.rootfs.path",
            )
    elif scheme and scheme not in _KINDS:
        raise errors.InvalidArgument(
            f"{name}: its root is kept by {scheme}, which is not supported",
            hint=_KINDS_TEXT,
        )
    kind = _KINDS.get(scheme or "dir", RootKind.LXC_DIR)
    for part in filter(None, (path, lower)):
        if not part.is_dir() or part.is_symlink():
            raise errors.InvalidArgument(
                f"{name}: its root {part} is no directory", hint=_KINDS_TEXT
            )
    if not scheme and btrfs.is_subvolume(path):
        kind = RootKind.LXC_BTRFS
    return MachineRoot(
        name=name,
        kind=kind,
        store=store,
        path=path,
        lower=lower,
        config=config,
    )
