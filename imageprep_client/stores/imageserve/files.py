"""The files of a repository in a tree, and the owner of its lock."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.host import descriptors, disk, locks
from imageprep_client.host.directory import Directory
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import htaccess, inspection, layout
from imageprep_client.stores.imageserve.catalog import TreeCatalog
from imageprep_client.stores.imageserve.referrers import Referrers
from imageprep_client.stores.imageserve.store import ImageServeStore
from imageprep_client.stores.stored_files import Defect, StoredFile


class ImageServeFiles:
    """The files of one repository."""

    def __init__(self, catalog: TreeCatalog, repository: str) -> None:
        self._catalog = catalog
        self._tree = catalog.tree
        self._store = ImageServeStore(catalog, repository)
        self._paths = self._store.paths
        self._referrers = Referrers(self._tree, self._paths)

    def contents(self) -> Iterator[StoredFile]:
        with disk.reported(self._tree.path):
            for name in self._tree.entries(self._paths.blobs):
                digest = name.removesuffix(layout.LAYER_SUFFIX)
                path = f"{self._paths.blobs}/{name}"
                if stored := self._stored(path, digest, is_manifest=False):
                    yield stored
            for digest in self._tree.entries(self._paths.manifests):
                path = self._paths.manifest(digest)
                if stored := self._stored(path, digest, is_manifest=True):
                    yield stored

    def _stored(
        self, path: str, digest: str, *, is_manifest: bool
    ) -> StoredFile | None:
        if not digests.is_valid(digest):
            return None
        status = self._tree.status(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return StoredFile(
            digest,
            status.st_size,
            is_manifest,
            str(self._tree.path / path),
            (status.st_dev, status.st_ino),
            status.st_nlink,
        )

    def _path(self, stored: StoredFile) -> str:
        return os.path.relpath(stored.path, self._tree.path)

    def open(self, stored: StoredFile) -> base.Content:
        with disk.reported(self._tree.path):
            file = self._tree.open_regular(self._path(stored))
        if file is None:
            raise errors.NotFound(f"{stored.path}: no such file")
        return file

    def defects(self) -> Iterator[Defect]:
        with disk.reported(self._tree.path):
            yield from inspection.repository(self._tree, self._store)

    def discard(self, stored: StoredFile) -> None:
        path = self._path(stored)
        self._catalog.prepare()
        with self._catalog.listing, disk.reported(self._tree.path):
            if not stored.is_manifest:
                self._tree.unlink(path)
                self._catalog.forget_blob(stored.digest, self._paths.blobs)
                return
            subject = self._subject(path)
            if subject:
                self._referrers.remove(subject, stored.digest)
            self._tree.remove_directory(path.rpartition("/")[0])

    def _subject(self, path: str) -> str:
        """The subject of a manifest, as far as it can be read."""
        content = self._tree.read(path, manifests.MAX_SIZE) or b""
        try:
            parsed = manifests.parse(content, htaccess.type_inside(content))
        except errors.InvalidContent:
            return ""
        return parsed.subject.digest if parsed.subject else ""

    def tidy(self) -> None:
        self._catalog.prepare()
        with self._catalog.listing, disk.reported(self._tree.path):
            self._catalog.remove_half_made(self._store.repository)
            self._catalog.tidy(self._store.repository)


def lock_owner(tree: Directory) -> str:
    """The process that has the lock of a tree; empty when it is free.

    When the file cannot be opened, the list of the kernel is read.
    """
    try:
        file = tree.open_regular(layout.LOCK)
    except PermissionError:
        with (
            contextlib.suppress(FileNotFoundError),
            descriptors.opened(
                tree.path / layout.LOCK, os.O_PATH | os.O_NOFOLLOW
            ) as descriptor,
        ):
            process = locks.owner(descriptor)
            return f"process {process}" if process else ""
        return ""
    if file is None:
        return ""
    with file:
        if locks.is_locked(file.fileno()):
            return f"process {recorded(file.fileno())}"
    return ""


def recorded(descriptor: int) -> str:
    """The process that wrote its number into a lock file."""
    number = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return number if number.isdigit() else "unknown"
