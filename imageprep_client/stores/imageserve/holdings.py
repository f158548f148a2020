"""The files of a tree: what is there, who writes, and how it goes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.stores import base
from imageprep_client.stores.holdings import Defect, Held
from imageprep_client.stores.imageserve import (
    files,
    homes,
    htaccess,
    inspection,
    layout,
)
from imageprep_client.stores.imageserve.referrers import Referrers

if TYPE_CHECKING:
    from imageprep_client.stores.imageserve.tree import ImageServeTree

_LOCKS = Path("/proc/locks")
_OCCUPIED = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})


class ImageServeHoldings:
    """The files of one repository."""

    def __init__(self, tree: ImageServeTree, repository: str) -> None:
        self._tree = tree
        self._store = tree.store(repository)
        self._paths = self._store.paths
        self._referrers = Referrers(tree.path, self._paths)

    def contents(self) -> Iterator[Held]:
        with disk.reported(self._tree.path):
            for path in _children(self._paths.blobs):
                digest = path.name.removesuffix(layout.LAYER_SUFFIX)
                if held := _held(path, digest, is_manifest=False):
                    yield held
            for home in _children(self._paths.manifests):
                path = home / layout.MANIFEST
                if held := _held(path, home.name, is_manifest=True):
                    yield held

    def open(self, held: Held) -> base.Content:
        with disk.reported(self._tree.path):
            file = disk.open_regular(self._tree.path, Path(held.path))
        if file is None:
            raise errors.NotFound(f"{held.path}: no such file")
        return file

    def defects(self) -> Iterator[Defect]:
        with disk.reported(self._tree.path):
            yield from inspection.repository(self._tree.path, self._store)

    def discard(self, held: Held) -> None:
        path = Path(held.path)
        with self._tree.listing, disk.reported(self._tree.path):
            if not held.is_manifest:
                path.unlink(missing_ok=True)
                self._tree.forget_blob(held.digest, self._paths.blobs)
                return
            subject = self._subject(path)
            if subject:
                self._referrers.remove(subject, held.digest)
            incoming = self._tree.incoming
            with files.staged_directory(incoming) as temporary:
                path.parent.rename(temporary)

    def _subject(self, path: Path) -> str:
        """What a manifest refers to, as far as it can be read."""
        content = disk.read(self._tree.path, path, manifests.MAX_SIZE) or b""
        try:
            parsed = manifests.parse(content, htaccess.type_inside(content))
        except errors.InvalidContent:
            return ""
        return parsed.subject.digest if parsed.subject else ""

    def tidy(self) -> None:
        paths = self._paths
        with self._tree.listing, disk.reported(self._tree.path):
            self._remove_half_made()
            if not _is_bare(paths.manifests):
                return
            self._tree.unlist_repository(self._store.repository)
            if not paths.tags_list.is_dir():
                paths.tags_list.unlink(missing_ok=True)
            if not [p for p in _children(paths.referrers) if not _hidden(p)]:
                headers = paths.referrers / layout.HTACCESS
                headers.unlink(missing_ok=True)
            parts = (
                paths.manifests,
                paths.tags,
                paths.referrers,
                paths.blobs,
            )
            for part in parts:
                _remove_empty(part)
            home = paths.home
            while home != self._tree.path / layout.ROOT:
                if not _remove_empty(home):
                    break
                home = home.parent

    def _remove_half_made(self) -> None:
        """Remove what a crash left of manifests."""
        for home in _children(self._paths.manifests):
            path = self._paths.manifest(home.name)
            if digests.is_valid(home.name) and not os.path.lexists(path):
                incoming = self._tree.incoming
                with files.staged_directory(incoming) as temporary:
                    home.rename(temporary)


def holder(lock: Path) -> str:
    """Who has a lock; empty for nobody.

    Who may not open the file asks the kernel's list, which shows the
    processes of this host, or of this container.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except PermissionError:
        return _holder_listed(lock)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(descriptor, 20, 0).decode("ascii", "replace")
        return f"process {number.strip() or 'unknown'}"
    finally:
        os.close(descriptor)
    return ""


def _holder_listed(lock: Path) -> str:
    with contextlib.suppress(OSError):
        inode = str(lock.stat().st_ino)
        for line in _LOCKS.read_text().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF
            fields = line.split()
            if (
                fields[1:2] == ["FLOCK"]
                and len(fields) > 5
                and fields[5].rpartition(":")[2] == inode
            ):
                return f"process {fields[4]}"
    return ""


def _held(path: Path, digest: str, *, is_manifest: bool) -> Held | None:
    if not digests.is_valid(digest):
        return None
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Held(
        digest,
        status.st_size,
        is_manifest,
        str(path),
        (status.st_dev, status.st_ino),
        status.st_nlink,
    )


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_bare(directory: Path) -> bool:
    """Whether it has nothing but what is of repositories below it."""
    return all(map(homes.is_below, _children(directory)))


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _remove_empty(directory: Path) -> bool:
    """Remove a directory with nothing in it; whether it is gone."""
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
    return not directory.exists()
