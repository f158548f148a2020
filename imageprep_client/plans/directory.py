"""A plan that is a directory of files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors, files
from imageprep_client.heat import document
from imageprep_client.heat import parameters as heat_parameters
from imageprep_client.plans import base, content

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


class PlanDirectory:
    """The plan in a directory; symbolic links may not lead out of it.

    Readers and writers hold a lock on the directory itself, the readers a
    shared one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._path = Path(path).absolute()

    def read(self) -> base.PlanContent:
        with self._locked(fcntl.LOCK_SH):
            return content.read(self.name, self._read)

    def check_writable(self) -> None:
        with self._locked(fcntl.LOCK_SH):
            listing = content.listing_parameters(self.name, self._read)
            file = self._inside(base.PARAMETERS)
            missing = not os.path.lexists(file.parent)
            if not missing:
                files.check(str(file))
            if missing or listing is not None:
                files.check(str(self._inside(base.PLAN_ENVIRONMENT)))

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> None:
        with self._locked(fcntl.LOCK_EX):
            plan_environment = content.listing_parameters(
                self.name, self._read
            )
            text = heat_parameters.render(parameters, header)
            self._write(base.PARAMETERS, text)
            if plan_environment is not None:
                self._write(base.PLAN_ENVIRONMENT, plan_environment)

    def _read(self, path: str) -> bytes | None:
        file = self._inside(path)
        # Without O_NONBLOCK a FIFO would block for ever.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with io.FileIO(os.open(file, flags)) as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise content.error(
                        self.name, path, "is not a regular file"
                    )
                return io.BufferedReader(stream).read(document.MAX_SIZE + 1)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            reason = (error.strerror or "unknown reason").lower()
            raise content.error(
                self.name, path, f"cannot be read: {reason}"
            ) from error

    def _write(self, path: str, text: str) -> None:
        file = self._inside(path)
        try:
            file.parent.mkdir(exist_ok=True)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise content.error(
                self.name, path, f"cannot be written: {reason}"
            ) from error
        files.write(str(file), text)

    def _inside(self, path: str) -> Path:
        """The file itself, links followed, which is in the directory."""
        # Path.resolve raises a RuntimeError for links that go in circles.
        file = Path(os.path.realpath(self._path / path))
        if not file.is_relative_to(os.path.realpath(self._path)):
            raise content.error(
                self.name,
                path,
                "a symbolic link leads out of the plan",
                "replace the link by the file",
            )
        return file

    @contextlib.contextmanager
    def _locked(self, operation: int) -> Iterator[None]:
        """Each call opens the directory anew: threads exclude each other."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
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
