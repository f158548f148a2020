"""A plan in memory, for tests."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.plans import files as plan_files
from imageprep_client.plans.files import PlanFile
from imageprep_client.plans.stored import Plan


class MemoryFiles:
    """Files of a plan as bytes in memory.

    :ivar files: path -> content.
    """

    def __init__(
        self, files: Mapping[str, bytes], name: str = "overcloud"
    ) -> None:
        self.name = name
        self.files = dict(files)
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def read(self, path: str) -> PlanFile | None:
        content = self.files.get(path)
        if content is None:
            return None
        return PlanFile(content, hashlib.sha256(content).hexdigest())

    def read_many(self, paths: Iterable[str]) -> Mapping[str, PlanFile | None]:
        return plan_files.one_by_one(self, paths)

    def write(
        self, path: str, content: bytes, *, replaces: PlanFile | None
    ) -> None:
        with self._writing:
            if self.read(path) != replaces:
                raise plan_files.conflict(self, path)
            self.files[path] = content

    def delete(self, path: str) -> None:
        self.files.pop(path, None)

    def names(self, folder: str) -> Sequence[str]:
        return [
            path for path in [*self.files] if posixpath.dirname(path) == folder
        ]

    def check_writable(self, paths: Iterable[str]) -> None:
        """Memory is always writable."""

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool) -> Iterator[None]:
        """Readers exclude each other, too."""
        with self._lock:
            yield

    def forget_cached(self) -> Sequence[errors.PlanError]:
        self.delete(plan_files.cached(self.name))
        return ()


class MemoryPlan(Plan):
    """A plan in memory.

    :ivar kept_in: its files.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        content = {path: text.encode() for path, text in files.items()}
        self.kept_in = MemoryFiles(content)
        super().__init__(self.kept_in)
