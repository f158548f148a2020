"""Reading below an open directory."""

from __future__ import annotations

import contextlib
import enum
import errno
import functools
import io
import operator
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from imageprep_client.host.opened import OpenDirectories, OpenDirectory, split

#: What the system answers where there is no such file or directory, or
#: a symbolic link in its place.
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LIST = os.O_RDONLY | os.O_DIRECTORY

_P = ParamSpec("_P")
_R = TypeVar("_R")
_D = TypeVar("_D", bound="ReadableDirectory")


class Kind(enum.Enum):
    """The type of a directory's entry."""

    FILE = "regular file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    OTHER = "special file"


def named(
    method: Callable[Concatenate[_D, str, _P], _R],
) -> Callable[Concatenate[_D, str, _P], _R]:
    """Set the path of an `OSError`, which has only a name."""

    @functools.wraps(method)
    def call(
        self: _D, path: str, /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        try:
            return method(self, path, *args, **kwargs)
        except OSError as error:
            if not os.path.isabs(error.filename or ""):
                error.filename = os.path.join(self.path, path)
                error.filename2 = None
            raise

    return call


class ReadableDirectory:
    """A directory, and everything below it, to read.

    Making one touches nothing. Threads may share it. The directory is looked
    up by its path again and again until `hold` is called.

    :ivar path: absolute, for messages.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._opened = OpenDirectories(self.path)

    def hold(self) -> None:
        """Keep the present directory, even if its path names another later.

        :raises AccessDenied: when a symbolic link on the way belongs neither
            to this user nor to root.
        """
        self._opened.hold()

    def close(self) -> None:
        """Keep nothing open, and hold nothing; what is used is reopened."""
        self._opened.close()

    def forget(self) -> None:
        """Look up all directories below by name again."""
        self._opened.forget()

    def owner(self) -> int:
        """The user that the directory belongs to."""
        return self._opened.owner()

    def _split(self, path: str) -> tuple[OpenDirectory, str]:
        above, name = split(path)
        return self._opened.at(above), name

    @named
    def status(self, path: str) -> os.stat_result | None:
        """The status of the entry itself; None when there is none."""
        try:
            above, name = self._split(path)
            return os.stat(
                name, dir_fd=above.descriptor, follow_symlinks=False
            )
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise

    def regular_size(self, path: str) -> int | None:
        """The size of a regular file; None for anything else, or nothing."""
        status = self.status(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return status.st_size

    def is_directory(self, path: str) -> bool:
        """Whether it is a directory, and no link to one."""
        status = self.status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    @named
    def open_regular(self, path: str) -> io.FileIO | None:
        """Open a regular file for reading; None when there is none."""
        # Without O_NONBLOCK a planted FIFO would block for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            above, name = self._split(path)
            descriptor = os.open(name, flags, dir_fd=above.descriptor)
        except OSError as error:
            # ENXIO: a socket.
            if error.errno in ABSENT or error.errno == errno.ENXIO:
                return None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return io.FileIO(descriptor)

    def read(self, path: str, limit: int) -> bytes | None:
        """At most `limit` bytes of a regular file; None when there is none."""
        file = self.open_regular(path)
        if file is None:
            return None
        with io.BufferedReader(file) as buffered:
            return buffered.read(limit)

    @named
    def read_link(self, path: str) -> str | None:
        """The text of a symbolic link; None for anything else."""
        try:
            above, name = self._split(path)
            return os.readlink(name, dir_fd=above.descriptor)
        except OSError as error:
            if error.errno in ABSENT or error.errno == errno.EINVAL:
                return None
            raise

    def scan(self, path: str) -> Iterator[tuple[str, Kind]]:
        """The names in a directory; none when it is not there."""
        with contextlib.ExitStack() as stack:
            try:
                directory = stack.enter_context(self.open_directory(path))
            except OSError as error:
                if error.errno in ABSENT:
                    return
                raise
            with os.scandir(directory) as entries:
                for entry in entries:
                    yield entry.name, _kind(entry)

    def entries(self, path: str) -> dict[str, Kind]:
        """The names in a directory, sorted; none when it is not there."""
        return dict(sorted(self.scan(path), key=operator.itemgetter(0)))

    @contextlib.contextmanager
    def open_directory(self, path: str) -> Iterator[int]:
        """A descriptor that lists, locks, or changes the mode."""
        descriptor = self._descriptor(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @named
    def _descriptor(self, path: str) -> int:
        opened = self._opened.at(path)
        return os.open(".", _LIST, dir_fd=opened.descriptor)


def _kind(entry: os.DirEntry[Any]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return Kind.FILE
    return Kind.OTHER
