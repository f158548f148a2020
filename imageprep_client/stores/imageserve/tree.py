"""The tree as a whole: who may write, what is in it, where each blob is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.stores.holdings import Defect
from imageprep_client.stores.imageserve import (
    files,
    holdings,
    homes,
    inspection,
    layout,
)
from imageprep_client.stores.imageserve.partial import Partials
from imageprep_client.stores.imageserve.store import ImageServeStore


class ImageServeTree:
    """A tree, and the stores of its repositories.

    Making one touches nothing. Threads may share it. Whoever writes holds
    `lock` for as long as the run takes; readers need no lock.

    :ivar path: the directory that holds ``v2``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.registry = f"image-serve:{self.path}"
        self.incoming = self.path / layout.INCOMING
        self.partials = Partials(self.incoming)
        #: Guards the lists of tags, repositories and referrers.
        self.listing = threading.RLock()
        self._prepared = False
        self._catalog_written = False
        self._repositories: set[str] | None = None
        self._blobs: dict[str, Path] = {}

    def __str__(self) -> str:
        return self.registry

    def store(self, repository: str) -> ImageServeStore:
        """The store of one repository, made when it is first written.

        :raises InvalidReference: when the name breaks the grammar.
        """
        return ImageServeStore(self, repository)

    def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        with self.listing:
            return sorted(self._scanned())

    def holdings(self, repository: str) -> holdings.ImageServeHoldings:
        """The files of one repository."""
        return holdings.ImageServeHoldings(self, repository)

    def homes(self) -> list[str]:
        """All repositories with any file, in the catalog or not; sorted.

        They are looked for anew at each call.
        """
        with disk.reported(self.path):
            return homes.find(self.path / layout.ROOT)

    def defects(self) -> Iterator[Defect]:
        """What is wrong with the catalog."""
        with disk.reported(self.path):
            yield from inspection.catalog(self.path, self.homes())

    def holder(self) -> str:
        """Who has the lock; empty for nobody."""
        with disk.reported(self.path):
            return holdings.holder(self.path / layout.LOCK)

    def check_writable(self) -> None:
        """Find out before anything is done whether the tree can be written.

        The directory is made when only its last part is missing.

        :raises InvalidArgument: when it is no directory or cannot be one.
        :raises AccessDenied: when this user may not write there.
        """
        self.prepare()
        with disk.reported(self.path):
            with disk.staged(self.incoming) as probe:
                files.write(probe, b"")
            home = self.path / layout.ROOT
            rights = os.R_OK | os.W_OK | os.X_OK
            if not os.access(home, rights, effective_ids=True):
                raise PermissionError(13, "Permission denied", str(home))

    def prepare(self) -> None:
        """Make what every writer needs, once."""
        if self._prepared:
            return
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise errors.InvalidArgument(
                f"{self.path}: {disk.absence(self.path)}"
            )
        if not self.path.parent.is_dir():
            raise errors.InvalidArgument(
                f"{self.path}: {self.path.parent} is no directory",
                hint="make the directory that shall hold the tree",
            )
        with disk.reported(self.path):
            files.make_directory(self.path)
            # For no eyes but this user's: a web server may be told to serve
            # all that it can read below the tree.
            self.incoming.mkdir(0o700, exist_ok=True)
            files.make_directory(self.path / layout.ROOT)
            index = self.path / layout.ROOT / layout.MANIFEST
            if not index.exists():
                files.replace(self.incoming, index, b"{}")
            catalog = self.path / layout.ROOT / "_catalog"
            if not catalog.exists():
                with self.listing:
                    self._begin_catalog(catalog)
        self._prepared = True

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Keep other runs out for the duration of the block.

        What an interrupted run left in the staging directory is removed,
        but for beginnings of blobs that can be taken up.
        Not reentrant.

        :param waiting: called once, with what is waited for, when another
            run has the lock.
        """
        self.prepare()
        path = self.path / layout.LOCK
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with disk.reported(self.path):
            descriptor = os.open(path, flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace")
                waiting(
                    f"another run has {self.path} (process"
                    f" {holder.strip() or 'unknown'})"
                )
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with disk.reported(self.path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                self._start_afresh()
            yield
        finally:
            os.close(descriptor)

    def _start_afresh(self) -> None:
        """Forget what other runs may have changed, remove what they left."""
        with self.listing:
            self._repositories = None
            self._catalog_written = False
        self.partials.scan()
        kept = self.partials.names
        for path in self.incoming.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in kept:
                # It may be another run's `check_writable` that goes now.
                path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Return when all that was written is on stable storage."""
        if self.path.exists():
            with disk.reported(self.path):
                disk.synchronise(self.path)

    def free_space(self) -> int:
        """Bytes that can still be written."""
        with disk.reported(self.path):
            return disk.free_space(self.path)

    def list_repository(self, repository: str) -> None:
        """Have the repository in the catalog; the caller has `listing`."""
        known = self._scanned()
        if repository in known and self._catalog_written:
            return
        known.add(repository)
        self._write_catalog(known)

    def unlist_repository(self, repository: str) -> None:
        """Take the repository off the catalog; the caller has `listing`."""
        known = self._scanned()
        known.discard(repository)
        self._write_catalog(known)

    def _begin_catalog(self, path: Path) -> None:
        """Make the catalog; that of another run which was faster is left.

        A run that has the lock has one, and may remove what is staged here.
        """
        with disk.staged(self.incoming) as temporary:
            files.write(temporary, layout.catalog(self._scanned()))
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                path.hardlink_to(temporary)

    def _write_catalog(self, known: set[str]) -> None:
        path = self.path / layout.ROOT / "_catalog"
        files.replace(self.incoming, path, layout.catalog(known))
        self._catalog_written = True

    def remember_blob(self, digest: str, path: Path) -> None:
        """Note where a blob is."""
        with self.listing:
            if self._repositories is not None:
                self._blobs[digest] = path

    def forget_blob(self, digest: str, blobs: Path) -> None:
        """Note that the directory `blobs` has the blob no more."""
        with self.listing:
            path = self._blobs.get(digest)
            if path and path.parent == blobs:
                del self._blobs[digest]

    def find_blob(self, digest: str) -> Path | None:
        """Some place in the tree where the blob is, or was."""
        with self.listing:
            self._scanned()
            return self._blobs.get(digest)

    def _scanned(self) -> set[str]:
        """The repositories; the first call walks over the whole tree."""
        if self._repositories is None:
            repositories: set[str] = set()
            blobs: dict[str, Path] = {}
            with disk.reported(self.path):
                _scan(self.path / layout.ROOT, repositories, blobs)
            self._repositories, self._blobs = repositories, blobs
        return self._repositories


def _scan(root: Path, repositories: set[str], blobs: dict[str, Path]) -> None:
    """Collect repositories and blobs; symbolic links are not followed."""
    todo = [str(root)] if root.is_dir() else []
    while todo:
        directory = todo.pop()
        parts = set()
        with os.scandir(directory) as entries:
            for entry in entries:
                digest = entry.name.removesuffix(layout.LAYER_SUFFIX)
                if entry.is_dir(follow_symlinks=False):
                    parts.add(entry.name)
                elif (
                    digests.is_valid(digest)
                    and os.path.basename(directory) == "blobs"
                    and entry.is_file(follow_symlinks=False)
                ):
                    blobs[digest] = Path(entry.path)
        if {"manifests", "tags"} <= parts and all(
            homes.is_part(Path(directory, part))
            for part in ("manifests", "tags")
        ):
            repositories.add(os.path.relpath(directory, root))
        todo.extend(
            os.path.join(directory, name)
            for name in parts
            if not digests.is_valid(name)
        )
