"""Workspaces in memory, with a modifier that does as it is told."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.modify.base import Changed, ImageChange, InvalidVariable
from imageprep_client.observer import Observer
from imageprep_client.stores import base, memory, verify
from imageprep_client.testing import content


class Workspaces:
    """Opens itself; counts what it is asked for.

    :ivar failing: parts of the names of images whose role fails.
    :ivar broken: parts of those that cannot be brought in.
    :ivar silent: those whose role makes nothing.
    :ivar untargeted: whether roles go by the source's name.
    :ivar missing: what is not installed.
    :ivar unusable: the variable that no role can use.
    :ivar changes: that were asked for.
    :ivar digests: of what was brought in, by name.
    :ivar kept: names of images that were left in local storage.
    :ivar left_open: workspaces that were not closed.
    """

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.ending: set[str] = set()
        self.untargeted = self.full = False
        self.missing = self.unusable = ""
        self.checked: list[tuple[str, object]] = []
        self.changes: list[ImageChange] = []
        self.landed: list[str] = []
        self.digests: dict[str, str] = {}
        self.kept: list[str] = []
        self.concurrency = 0
        self.opened = self.left_open = 0

    def check(
        self, ansible_role: str, variables: Mapping[str, object]
    ) -> None:
        self.checked.append((ansible_role, variables.get("tasks_from", "")))
        if self.missing:
            raise errors.InvalidArgument(self.missing, hint="install it")
        if self.unusable:
            raise InvalidVariable(self.unusable, "unusable")

    @contextlib.contextmanager
    def open(self) -> Iterator[Workspace]:
        self.opened += 1
        self.left_open += 1
        yield Workspace(self)
        self.left_open -= 1


class Workspace:
    """A memory registry, with a repository for each name."""

    def __init__(self, told: Workspaces) -> None:
        self._told = told
        self._registry = memory.MemoryRegistry("workspace")
        self._names: set[str] = set()

    def landing(self, name: str) -> tuple[base.Store, str]:
        self._told.landed.append(name)
        return self._store(name), "image"

    def bring_in(self, name: str) -> None:
        if any(part in name for part in self._told.broken):
            raise errors.LocalStorageError("buildah pull: broken")
        self._told.digests[name] = self._store(name).resolve("image").digest
        self._names.add(name)

    def modify(
        self,
        changes: Sequence[ImageChange],
        *,
        concurrency: int,
        keep_going: bool,
        observer: Observer,
    ) -> Sequence[Changed]:
        self._told.changes += changes
        self._told.concurrency = concurrency
        failed = {
            change.source_image: errors.ModifyError(
                f"{change.source_image}: the role failed", log=("a", "b")
            )
            for change in changes
            if any(part in change.source_image for part in self._told.failing)
        }
        return [
            Changed(change, False, failed[change.source_image])
            if change.source_image in failed
            else self._made(change, not failed or keep_going)
            for change in changes
        ]

    def _made(self, change: ImageChange, done: bool) -> Changed:
        quiet = any(part in change.source_image for part in self._told.silent)
        if any(part in change.source_image for part in self._told.ending):
            return Changed(change, False)
        if done and not quiet:
            name = (
                change.other_result if self._told.untargeted else change.result
            )
            image = content.image(name)
            repository, _, tag = name.rpartition(":")
            for piece in image.pieces:
                self._store(repository).push(
                    piece.descriptor,
                    verify.from_bytes(piece.data, piece.descriptor),
                )
            self._store(repository).tag(image.descriptor, tag)
            self._names.add(name)
        return Changed(change, done)

    def names(self) -> Collection[str]:
        return self._names

    def store(
        self, name: str, going_to: base.ReadableStore
    ) -> base.ReadableStore:
        return self._store(name)

    def keep(self, name: str) -> None:
        assert name in self._names
        if self._told.full:
            raise errors.LocalStorageError("no room")
        self._told.kept.append(name)

    def _store(self, name: str) -> memory.MemoryStore:
        encoded = hashlib.sha256(name.encode()).hexdigest()
        return self._registry.store(encoded)
