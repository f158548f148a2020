"""Copies of a root for new machines, each with an identity of its own.

A copy is a snapshot where the file system has them: of a subvolume, or an
overlay over a base of LXC. Quotas are never turned on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import secrets
import tempfile
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
    check_name,
    overlays,
)
from imageprep_client.programs import btrfs, lxc
from imageprep_client.programs.process import Program, raise_full

_TEMPORARY = ".#image-prepare-clone-"


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
        path = base.store.path / name
        if os.path.lexists(path):
            raise errors.InvalidArgument(f"{name}: {path} already exists")
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise errors.InvalidArgument(f"{doubled[0]}: is given twice")
    if base.state() not in ("stopped", "unknown"):
        raise errors.InvalidArgument(
            f"{base.name}: is {base.state()}", hint="stop it first"
        )
    base.check_nested("a snapshot would have empty directories in their place")


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
        with _temporary(base.store.path) as temporary, disk.reported(path):
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
        lxc.LxcContainer(store, self._base.name).copy(name)
        try:
            root = roots.find(name, str(store))
            with _view(root) as path:
                self._give_identity(path, name)
        except BaseException:
            lxc.LxcContainer(store, name).destroy()
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
    with (
        tempfile.TemporaryDirectory(
            prefix=_TEMPORARY, dir=root.path.parent
        ) as work,
        overlays.merged(root.lower, root.path, Path(work)) as path,
    ):
        yield path


@contextlib.contextmanager
def _temporary(directory: Path) -> Iterator[Path]:
    """A name for a root that is being made; removed when it is left."""
    path = directory / f"{_TEMPORARY}{secrets.token_hex(8)}"
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
