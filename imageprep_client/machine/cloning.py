"""Copies of a root for new machines, each with an identity of its own.

A copy is a snapshot where the file system has them: of a subvolume, or an
overlay over a base of LXC. Quotas are never turned on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.host.directory import Directory
from imageprep_client.machine import identity, roots
from imageprep_client.machine.roots import (
    MachineRoot,
    RootKind,
    RootStore,
    check_name,
    overlays,
)
from imageprep_client.machine.roots.finding import CLONE
from imageprep_client.programs import btrfs, lxc
from imageprep_client.programs.process import Program, raise_full


class CopyMethod(enum.StrEnum):
    """The method by which a clone was made."""

    SNAPSHOT = "snapshot"
    OVERLAY = "overlay"
    COPY = "full copy"


class CloneError(errors.StoreError):
    """A root cannot be copied."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClonedMachine:
    """A new machine."""

    name: str
    method: CopyMethod
    path: Path


def check(base: MachineRoot, names: Sequence[str]) -> None:
    """Check that the clones can be made.

    :raises InvalidArgument: when a name cannot be used or the base runs.
    """
    for name in names:
        check_name(name)
        _check_new(base.store.path / name)
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise errors.InvalidArgument(f"{doubled[0]}: is given twice")
    if base.state() not in ("stopped", "unknown"):
        raise errors.InvalidArgument(
            f"{base.name}: is {base.state()}", hint="stop it first"
        )
    base.check_nested("a snapshot would have empty directories in their place")


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise errors.InvalidArgument(f"{path.name}: {path} already exists")


def clean(store: RootStore) -> None:
    """Destroy the containers that killed commands did not finish.

    The caller keeps others from cloning containers of the store.

    :raises StoreError: when one of them cannot be destroyed.
    """
    for marker, name in list(roots.abandoned(store.path, CLONE)):
        _destroy(store.path, name)
        marker.rmdir()


def _destroy(store: Path, name: str) -> None:
    """Destroy a container, also one that LXC did not finish."""
    folder = store / name
    if (folder / "config").is_file():
        container = lxc.LxcContainer(store, name)
        try:
            container.destroy()
        except lxc.LxcError:
            if container.leader() is not None:
                raise
    if folder.is_dir():
        roots.remove(folder)


class Cloning:
    """Makes clones of one base.

    :param base: is not changed meanwhile.
    """

    def __init__(self, base: MachineRoot) -> None:
        self._base = base
        with _view(base) as root:
            self._identity = identity.paths(Directory(root))

    def clone(self, name: str) -> ClonedMachine:
        """Make one clone, with its own identity or not at all.

        :raises StoreError: when it cannot be made.
        """
        base = self._base
        if base.is_lxc:
            return self._clone_container(name)
        path = base.store.path / name
        with (
            _temporary(base.store.path, name) as temporary,
            disk.reported(path),
        ):
            if base.kind is RootKind.SUBVOLUME:
                method = CopyMethod.SNAPSHOT
                btrfs.snapshot(base.path, temporary)
            else:
                method = CopyMethod.COPY
                _copy(base.path, temporary)
            self._give_identity(temporary, name)
            temporary.rename(path)
        return ClonedMachine(name, method, path)

    def _clone_container(self, name: str) -> ClonedMachine:
        """By LXC, which gives the clone its own name and MAC addresses."""
        store = self._base.store.path
        _check_new(store / name)
        marker = roots.temporary(store, name, CLONE)
        with disk.reported(marker):
            marker.mkdir()
        try:
            lxc.LxcContainer(store, self._base.name).copy(name)
            root = roots.find(name, str(store))
            with _view(root) as path:
                self._give_identity(path, name)
            marker.rmdir()
        except BaseException:
            _destroy(store, name)
            with contextlib.suppress(FileNotFoundError):
                marker.rmdir()
            raise
        method = {
            RootKind.LXC_BTRFS: CopyMethod.SNAPSHOT,
            RootKind.LXC_OVERLAY: CopyMethod.OVERLAY,
        }.get(root.kind, CopyMethod.COPY)
        return ClonedMachine(name, method, root.path)

    def _give_identity(self, root: Path, name: str) -> None:
        """Replace the identity of the base by one of its own."""
        # An overlay that something is open in stays mounted.
        with contextlib.closing(Directory(root)) as directory:
            identity.forget(directory, self._identity)
            directory.make_directory("etc")
            machine_id = f"{uuid.uuid4().hex}\n"
            directory.replace("etc/machine-id", machine_id.encode(), 0o444)
            directory.replace("etc/hostname", f"{name}\n".encode(), 0o644)


@contextlib.contextmanager
def _view(root: MachineRoot) -> Iterator[Path]:
    """The files of a root, to read and write; of an overlay, both layers."""
    if root.lower is None:
        yield root.path
        return
    with _temporary(root.path.parent, root.name) as work:
        work.mkdir(mode=0o700)
        with overlays.merged(root.lower, root.path, work) as path:
            yield path


@contextlib.contextmanager
def _temporary(directory: Path, name: str) -> Iterator[Path]:
    """A name for a root that is being made; removed when it is left."""
    path = roots.clean_temporary(directory, name, "clone")
    try:
        yield path
    finally:
        if path.is_dir():
            roots.remove(path)


def _copy(source: Path, target: Path) -> None:
    """Copy a root with all attributes; blocks are shared where they can be."""
    program = Program(
        "cp", {"LC_ALL": "C.UTF-8"}, package="coreutils", error=CloneError
    )
    words = (
        "--archive",
        "--reflink=auto",
        "--sparse=always",
        "--one-file-system",
        "--no-target-directory",
        "--",
        str(source),
        str(target),
    )
    done = program.attempt(*words)
    if done.status:
        raise_full(done.stderr)
        raise program.failure(words, done.stderr.strip()[-1000:])
