"""The directory of image layouts, and the locations of their blobs."""

from __future__ import annotations

import os
import threading

from imageprep_client.host import disk
from imageprep_client.host.directory import Directory, join
from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.layout import INDEX, LAYOUT


class Layouts:
    """The parts that the layouts of a directory share; thread-safe.

    :ivar tree: the directory.
    :ivar path: its path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.tree = Directory(path)
        self.path = self.tree.path
        self.registry = f"oci:{self.path}"
        self._lock = threading.Lock()
        self._blobs: dict[str, str] | None = None

    def prepare(self) -> None:
        """Make the directory when only its last part is missing.

        :raises InvalidArgument: when it is no directory or cannot be one.
        """
        with disk.reported(self.path):
            self.tree.make()

    def flush(self) -> None:
        """Return when all that was written is on stable storage."""
        if self.path.exists():
            with disk.reported(self.path):
                disk.synchronise(self.path)

    def free_space(self) -> int:
        """Bytes that can still be written."""
        with disk.reported(self.path):
            return disk.free_space(self.path)

    def repositories(self) -> list[str]:
        """The names of all layouts, sorted."""
        with disk.reported(self.path):
            return sorted(self._scan()[0])

    def locate(self, descriptor: Descriptor) -> str | None:
        """A repository that has the blob, or had it."""
        with self._lock:
            if self._blobs is None:
                with disk.reported(self.path):
                    self._blobs = self._scan()[1]
            return self._blobs.get(descriptor.digest)

    def remember(self, descriptor: Descriptor, repository: str) -> None:
        """Note that a repository has a blob, for `locate`."""
        with self._lock:
            if self._blobs is not None:
                self._blobs.setdefault(descriptor.digest, repository)

    def forget(self) -> None:
        """Drop cached locations after a deletion."""
        with self._lock:
            self._blobs = None

    def _scan(self) -> tuple[list[str], dict[str, str]]:
        """Names of layouts, and the layout that has a blob.

        Symbolic links are not followed.
        """
        names: list[str] = []
        blobs: dict[str, str] = {}
        todo = [""]
        while todo:
            name = todo.pop()
            entries = self.tree.entries(name)
            for entry, kind in entries.items():
                if kind is Kind.DIRECTORY:
                    todo.append(join(name, entry))
            parts = {INDEX, LAYOUT} & set(entries)
            if name and parts and entries.get("blobs") is Kind.DIRECTORY:
                names.append(name)
                self._scan_blobs(name, blobs)
        return names, blobs

    def _scan_blobs(self, name: str, blobs: dict[str, str]) -> None:
        for algorithm, kind in self.tree.scan(f"{name}/blobs"):
            if kind is Kind.DIRECTORY:
                for encoded, _ in self.tree.scan(f"{name}/blobs/{algorithm}"):
                    digest = f"{algorithm}:{encoded}"
                    if digests.is_valid(digest):
                        blobs[digest] = name
