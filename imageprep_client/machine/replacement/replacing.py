"""Replacing, restoring and deleting the roots of machines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.directory import Directory
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine import identity as identities
from imageprep_client.machine import roots, scrub
from imageprep_client.machine.replacement import carrying, swap, versions
from imageprep_client.machine.replacement import runtime as runtimes
from imageprep_client.machine.replacement.exchange import identity
from imageprep_client.machine.replacement.journal import ChangeRecord, Journal
from imageprep_client.machine.replacement.swap import (
    Patience,
    Swap,
    SwapResult,
)
from imageprep_client.machine.roots import MachineRoot, overlays
from imageprep_client.machine.scrub import Category, ScrubbedPath
from imageprep_client.observer import Observer
from imageprep_client.programs import btrfs, lxc

#: Kept versions of a root.
KEEP = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceRequest:
    """How a root is replaced.

    :ivar keep: the number of kept versions.
    :ivar check: a command that succeeds when the machine is well, or None.
    :ivar carry: paths to carry over beside those of the list.
    :ivar carries: whether anything is carried over.
    :ivar fresh_identity: whether the machine gets a new identity.
    """

    keep: int = KEEP
    check: str | None = None
    patience: Patience = dataclasses.field(default_factory=Patience)
    carry: Sequence[str] = ()
    carries: bool = True
    fresh_identity: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A replaced root.

    :ivar carried: the number of files that were carried over.
    :ivar carried_size: their bytes.
    """

    swap: SwapResult
    carried: int
    carried_size: int


class RootChanges:
    """Changes the root of one machine; one command at a time does.

    :param journals: the directory of journals.
    """

    def __init__(
        self, root: MachineRoot, observer: Observer, *, journals: Path
    ) -> None:
        self._root = root
        self._observer = observer
        self._journal = Journal(journals, root.path)
        self._runtime = runtimes.of(root)

    def image(self) -> str | None:
        """The digest of the image that the root was made from.

        None when it is not known, or the root is another one.
        """
        return self._journal.image(identity(self._root.path))

    def replace(
        self,
        fill: Callable[[Path], object],
        request: ReplaceRequest,
        *,
        image: str = "",
    ) -> Replaced:
        """Put a new root in place of the present one.

        :param fill: unpacks the new root into an empty directory.
        :param image: the digest that `image` will return.
        :raises PartialFailure: when the machine was not well with the new
            root and has its old one again.
        """
        more = [carrying.added(path) for path in request.carry]
        _check_replaceable(self._root)
        with self._ready(), contextlib.ExitStack() as stack:
            swapped = self._swap(
                request.keep,
                beside=versions.new(self._root.path),
                temporary=versions.temporary(self._root.path),
            )
            carried: list[carrying.CarriedFiles] = []

            def make(path: Path) -> None:
                if self._root.is_subvolume:
                    btrfs.create(path)
                else:
                    path.mkdir()
                path.chmod(0o755)
                fill(path)
                if request.carries:
                    carried.append(carrying.CarriedFiles(path))
                    stack.callback(carried[0].close)
                    self._carry(carried[0], request, more)
                if request.fresh_identity:
                    new = Directory(path)
                    identities.forget(new, identities.paths(new))
                if self._root.lower is not None:
                    overlays.hide_lower(path, self._root.lower)

            def carry_rest() -> None:
                for files in carried:
                    self._carry(files, request, more)

            swapped.prepare(make)
            result = swapped.run(request.check, request.patience, carry_rest)
            self._journal.note_image(identity(self._root.path), image)
        return Replaced(
            swap=result,
            carried=sum(files.files for files in carried),
            carried_size=sum(files.size for files in carried),
        )

    def rollback(
        self, version: str | None, check: str | None, patience: Patience
    ) -> tuple[str, SwapResult]:
        """Put a kept version back; the present root is kept in its place.

        :param version: by default the newest one.
        :returns: the version, and what was done.
        """
        with self._ready():
            _check_movable(self._root)
            known = versions.find(self._root.path, version)
            roots.check_unmounted(known.path)
            keep = len(versions.kept(self._root.path))
            swapped = self._swap(keep, beside=known.path)
            result = swapped.run(check, patience, lambda: None)
        return known.version, result

    def delete(self, version: str | None) -> None:
        """Delete a kept version, or the machine with all versions.

        :raises InvalidArgument: when the machine runs or others need it.
        """
        with self._ready():
            path = self._root.path
            if version is not None:
                versions.delete(path, versions.find(path, version).path)
                return
            if self._runtime.leader() is not None:
                raise errors.InvalidArgument(
                    f"{self._root.name}: is running", hint="stop it first"
                )
            _check_movable(self._root)
            kept = versions.kept(path)
            for known in kept:
                roots.check_unmounted(known.path)
            for known in kept:
                versions.delete(path, known.path)
            if self._root.is_lxc:
                lxc.LxcContainer(
                    self._root.store.path, self._root.name
                ).destroy()
            else:
                versions.delete(path, path)

    @contextlib.contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold the lock, after cleaning up what killed commands left."""
        with self._journal.locked():
            if not self._root.path.is_dir():
                raise errors.InvalidArgument(
                    f"{self._root.name}: another command has deleted it",
                    hint="look at: openstack image-prepare machine list",
                )
            swap.recover(
                self._journal, self._root.path, self._runtime, self._observer
            )
            yield

    def _swap(
        self, keep: int, *, beside: Path, temporary: Path | None = None
    ) -> Swap:
        root = self._root.path
        archived = versions.new(root) if temporary is None else beside
        record = ChangeRecord(
            machine=self._root.name,
            root=str(root),
            beside=str(beside),
            temporary=str(temporary or ""),
            archived=str(archived),
            old=identity(root),
            was_running=self._runtime.leader() is not None,
            keep=keep,
        )
        return Swap(self._journal, record, self._runtime, self._observer)

    def _carry(
        self,
        files: carrying.CarriedFiles,
        request: ReplaceRequest,
        more: Sequence[ScrubbedPath],
    ) -> None:
        with self._root.files() as old:
            paths = [
                scrubbed
                for scrubbed in scrub.scan(ReadableDirectory(old))
                if scrubbed.category.is_carried
                and not (
                    request.fresh_identity
                    and scrubbed.category is Category.IDENTITY
                )
            ]
            files.update(old, [*paths, *more])


def _check_movable(root: MachineRoot) -> None:
    """Check that the directory of a root can be renamed, and then removed.

    :raises InvalidArgument: when it cannot.
    """
    name = root.name
    roots.check_unmounted(root.path)
    users = [
        other.name
        for other in roots.list_roots(str(root.store.path))
        if other.lower == root.path
    ]
    if users:
        raise errors.InvalidArgument(
            f"{name}: its root is the lower directory of {', '.join(users)}",
            hint="a changed lower directory breaks these containers",
        )
    if not root.is_subvolume and root.is_read_only():
        raise errors.InvalidArgument(
            f"{name}: its root is marked read-only",
            hint=f"chattr -i {root.path}",
        )
    root.check_nested("move them out of it first")


def _check_replaceable(root: MachineRoot) -> None:
    _check_movable(root)
    if root.is_shifted:
        raise errors.InvalidArgument(
            f"{root.name}: the users in its root are shifted, which is not"
            " supported"
        )
