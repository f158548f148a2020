"""The tree as a whole: its lock, its repositories, its preparation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from imageprep_client.host import disk, locks
from imageprep_client.host.directory import is_temporary
from imageprep_client.host.reading import Kind
from imageprep_client.oci import reference as references
from imageprep_client.stores.imageserve import files, inspection, layout
from imageprep_client.stores.imageserve.catalog import TreeCatalog
from imageprep_client.stores.imageserve.store import ImageServeStore
from imageprep_client.stores.stored_files import Defect


class ImageServeTree(TreeCatalog):
    """A tree, and the stores of its repositories.

    Making one touches nothing. Threads may share it. A writer holds `lock`
    for the whole run; readers need no lock.
    """

    def __str__(self) -> str:
        return self.registry

    def store(self, repository: str) -> ImageServeStore:
        """The store of one repository, made when it is first written.

        :raises InvalidReference: when the name breaks the grammar, or is
            that of a file that trees have.
        """
        return ImageServeStore(self, repository)

    def stored_files(self, repository: str) -> files.ImageServeFiles:
        return files.ImageServeFiles(self, repository)

    def repositories_on_disk(self) -> list[str]:
        """All repositories with any file, in the catalog or not; sorted.

        The tree is searched at each call.
        """
        with disk.reported(self.path):
            return layout.find_repositories(self.tree)

    def defects(self) -> Iterator[Defect]:
        """The faults of the catalog."""
        with disk.reported(self.path):
            names = self.repositories_on_disk()
            yield from inspection.catalog(self.tree, names)

    def lock_owner(self) -> str:
        """The process that has the lock; empty when it is free."""
        with disk.reported(self.path):
            return files.lock_owner(self.tree)

    def check_writable(self) -> None:
        """Check that the tree can be written, before anything is done.

        The directory is made when only its last part is missing.

        :raises InvalidArgument: when it is no directory or cannot be one.
        :raises AccessDenied: when this user may not write there, or a link
            or a stranger's directory is in the way.
        """
        self.prepare()
        with disk.reported(self.path):
            with self.tree.staged(layout.INCOMING) as probe:
                self.tree.write(probe, b"")
            if self.tree.status(layout.ROOT):
                self.tree.check_access(layout.ROOT)

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Exclude other runs for the duration of the block.

        Files of interrupted runs in the staging directory are removed, except
        for beginnings of blobs that can be resumed.
        The wait has no bound, since a run of hours is legitimate. Not
        reentrant.

        :param waiting: called with the name of the tree and the process when
            another run has the lock, and again every minute.
        """
        self.prepare()
        with disk.reported(self.path):
            descriptor = self.tree.open_private(layout.LOCK)

        def tell() -> None:
            process = files.recorded(descriptor)
            waiting(f"another run has {self.path} (process {process})")

        try:
            with locks.locked(descriptor, waiting=tell):
                with disk.reported(self.path):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                    self._start_afresh()
                with self.exclusive():
                    yield
        finally:
            os.close(descriptor)

    def _start_afresh(self) -> None:
        """Drop cached state, and remove files of interrupted runs.

        Only files with names that runs give are removed.
        """
        self.forget()
        self.partials.scan()
        for name, kind in self.tree.entries(layout.INCOMING).items():
            path = f"{layout.INCOMING}/{name}"
            if kind is Kind.DIRECTORY and layout.is_staged_directory(name):
                self.tree.remove_tree(path)
            elif kind is Kind.FILE and is_temporary(name):
                # It may be from a `check_writable` of another run.
                self.tree.unlink(path)
            elif kind is Kind.FILE and layout.is_unlisted(name):
                self._write_unlisted(path)

    def _write_unlisted(self, path: str) -> None:
        """Write a list of tags that a killed run did not write."""
        name = (self.tree.read(path, 1024) or b"").decode("utf-8", "replace")
        if references.is_repository(name):
            store = self.store(name)
            if store.has_manifests():
                store.write_tags_list()
        self.tree.unlink(path)
