"""A directory of image layouts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.layout.store import INDEX, LAYOUT, LayoutStore


class LayoutRoot:
    """The directory, and the stores of the repositories in it.

    Making one touches nothing. Threads, and processes, may share it.

    :ivar path: the directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.registry = f"oci:{self.path}"
        self._lock = threading.Lock()
        self._blobs: dict[str, str] | None = None

    def __str__(self) -> str:
        return self.registry

    def store(self, repository: str) -> LayoutStore:
        """The store of one repository, made when it is first written.

        :raises InvalidReference: when the name breaks the grammar, or is
            that of a file that layouts have.
        """
        return LayoutStore(self, repository)

    def repositories(self) -> list[str]:
        """The names of all layouts below, sorted."""
        with disk.reported(self.path):
            return sorted(self._scan()[0])

    def check_writable(self) -> None:
        """Find out before anything is done whether it can be written.

        :raises InvalidArgument: when it is no directory or cannot be one.
        :raises AccessDenied: when this user may not write there.
        """
        self.prepare()
        with disk.reported(self.path), disk.staged(self.path) as probe:
            disk.create(probe).close()

    def prepare(self) -> None:
        """Make the directory when only its last part is missing."""
        with disk.reported(self.path):
            try:
                self.path.mkdir()
            except FileExistsError:
                if not self.path.is_dir():
                    raise errors.InvalidArgument(
                        f"{self.path}: {disk.absence(self.path)}"
                    ) from None
            except FileNotFoundError:
                raise errors.InvalidArgument(
                    f"{self.path}: {self.path.parent} is no directory",
                    hint="make the directory that shall hold the layouts",
                ) from None

    def flush(self) -> None:
        """Return when all that was written is on stable storage."""
        if self.path.exists():
            with disk.reported(self.path):
                disk.synchronise(self.path)

    def free_space(self) -> int:
        """Bytes that can still be written."""
        with disk.reported(self.path):
            return disk.free_space(self.path)

    def locate(self, descriptor: Descriptor) -> str | None:
        """A repository that has the blob, as far as is known."""
        with self._lock:
            if self._blobs is None:
                with disk.reported(self.path):
                    self._blobs = self._scan()[1]
            name = self._blobs.get(descriptor.digest)
        if name is None or not self.store(name).exists(descriptor):
            return None
        return name

    def remember(self, descriptor: Descriptor, repository: str) -> None:
        """A blob came in; the next `locate` knows."""
        with self._lock:
            if self._blobs is not None:
                self._blobs.setdefault(descriptor.digest, repository)

    def forget(self) -> None:
        """Something was deleted; the next `locate` looks again."""
        with self._lock:
            self._blobs = None

    def _scan(self) -> tuple[list[str], dict[str, str]]:
        """Names of layouts, and which has a blob.

        Symbolic links are not followed.
        """
        names, blobs = [], {}
        for home, parts, files in os.walk(self.path):
            if "blobs" not in parts or not {INDEX, LAYOUT} & set(files):
                continue
            name = os.path.relpath(home, self.path)
            if name == os.curdir:
                continue
            names.append(name)
            for algorithm in os.listdir(os.path.join(home, "blobs")):
                directory = os.path.join(home, "blobs", algorithm)
                if os.path.islink(directory) or not os.path.isdir(directory):
                    continue
                for encoded in os.listdir(directory):
                    if digests.is_valid(f"{algorithm}:{encoded}"):
                        blobs[f"{algorithm}:{encoded}"] = name
        return names, blobs
