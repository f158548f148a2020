"""A plan that is a directory of files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.host import files
from imageprep_client.plans import base
from imageprep_client.plans import files as plan_files
from imageprep_client.plans.files import Stored
from imageprep_client.plans.stored import StoredPlan

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


class PlanDirectory(StoredPlan):
    """The plan in a directory."""

    def __init__(
        self, path: str | os.PathLike[str], kept: int = base.KEPT
    ) -> None:
        super().__init__(DirectoryFiles(path), kept)


class DirectoryFiles:
    """The files in a directory; symbolic links may not lead out of it.

    Readers and writers hold a lock on the directory itself, the readers a
    shared one. Whoever writes without it is noticed until the moment
    before a file is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._path = Path(path).absolute()

    def read(self, path: str) -> Stored | None:
        file = self._inside(path)
        # Without O_NONBLOCK a FIFO would block for ever.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with io.FileIO(os.open(file, flags)) as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise plan_files.error(self, path, "is not a regular file")
                content = io.BufferedReader(stream).read(document.MAX_SIZE + 1)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise self._failed(path, "cannot be read", error) from error
        return Stored(content, hashlib.sha256(content).hexdigest())

    def read_many(self, paths: Iterable[str]) -> Mapping[str, Stored | None]:
        return plan_files.one_by_one(self, paths)

    def write(
        self, path: str, content: bytes, *, replaces: Stored | None
    ) -> None:
        file = self._inside(path)
        self._make(file.parent, path)
        mode = None if replaces else self._mode()
        if self.read(path) != replaces:
            raise plan_files.conflict(self, path)
        files.write(str(file), content, mode=mode)

    def delete(self, path: str) -> None:
        try:
            self._inside(path).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(path, "cannot be deleted", error) from error

    def names(self, folder: str) -> Sequence[str]:
        try:
            with os.scandir(self._inside(folder)) as entries:
                return [
                    f"{folder}/{entry.name}"
                    for entry in entries
                    if entry.is_file(follow_symlinks=False)
                ]
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise self._failed(folder, "cannot be read", error) from error

    def check_writable(self, paths: Iterable[str]) -> None:
        for path in paths:
            file = self._inside(path)
            # Folders come into being with the file.
            while not os.path.lexists(file.parent):
                file = file.parent
            files.check(str(file))

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool) -> Iterator[None]:
        """Each call opens the directory anew: threads exclude each other."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        with contextlib.ExitStack() as stack:
            try:
                descriptor = os.open(self._path, flags)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, operation)
            except OSError as error:
                reason = (error.strerror or "unknown reason").lower()
                raise errors.PlanError(
                    f"plan {self.name}: {reason}",
                    hint="name the directory that has"
                    f" {base.PLAN_ENVIRONMENT} in it",
                ) from error
            yield

    def forget_cached(self) -> Sequence[errors.PlanError]:
        """The plan has one name, which the directory need not have."""
        return plan_files.failures([self._forget_cached])

    def _forget_cached(self) -> None:
        for path in self.names(plan_files.CACHE):
            if plan_files.is_cached(path):
                self.delete(path)

    def _make(self, folder: Path, path: str) -> None:
        """Make a folder, for who owns the plan, also where that is sudo."""
        if folder.exists():
            return
        self._make(folder.parent, path)
        try:
            folder.mkdir(exist_ok=True)
            owner = self._path.stat()
            with contextlib.suppress(PermissionError):
                os.chown(folder, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise self._failed(path, "cannot be written", error) from error

    def _mode(self) -> int | None:
        """Permissions of a new file: nobody may read more than before."""
        try:
            return stat.S_IMODE(self._inside(base.PARAMETERS).stat().st_mode)
        except OSError:
            return None

    def _failed(
        self, path: str, what: str, error: OSError
    ) -> errors.PlanError:
        reason = (error.strerror or "unknown reason").lower()
        return plan_files.error(self, path, f"{what}: {reason}")

    def _inside(self, path: str) -> Path:
        """The file itself, links followed, which is in the directory."""
        # Path.resolve raises a RuntimeError for links that go in circles.
        file = Path(os.path.realpath(self._path / path))
        if not file.is_relative_to(os.path.realpath(self._path)):
            raise plan_files.error(
                self,
                path,
                "a symbolic link leads out of the plan",
                "replace the link by the file",
            )
        return file
