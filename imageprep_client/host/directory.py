"""A directory held open: nothing done in it can be led elsewhere.

Paths are relative to the directory, with ``/`` between names. Every directory
on the way is opened relative to the one above it, and symbolic links are never
followed. It does not matter what others rename meanwhile.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import errno
import functools
import io
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from imageprep_client import errors
from imageprep_client.host import owners

#: What the system answers where there is no such file or directory, or
#: a symbolic link in its place.
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
#: Reasons to refuse a hard link where a copy would still work.
_UNLINKABLE = frozenset(
    {
        errno.EXDEV,
        errno.EMLINK,
        errno.EPERM,
        errno.EACCES,
        errno.ENOENT,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
    }
)
_OCCUPIED = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})
_PREFIX, _SUFFIX = ".imageprep-", ".tmp"

#: Descriptors of directories that one `Directory` keeps open at most.
_MAX_OPEN = 64
#: Seconds after which a directory is looked up by its name again.
_FRESH = 1.0

_CLOEXEC = os.O_CLOEXEC

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Kind(enum.Enum):
    """The type of a directory's entry."""

    FILE = "regular file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    OTHER = "special file"


class _Open:
    """An open directory.

    :ivar foreign: the first directory on the way that belongs to a stranger.
    """

    __slots__ = ("descriptor", "foreign", "opened")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.opened = time.monotonic()
        self.foreign: Path | None = None

    def __del__(self) -> None:
        os.close(self.descriptor)

    def is_current(self) -> bool:
        """Whether the directory has not been removed, and is still fresh."""
        return (
            time.monotonic() - self.opened < _FRESH
            and os.fstat(self.descriptor).st_nlink > 0
        )


def _named(
    method: Callable[Concatenate[Directory, str, _P], _R],
) -> Callable[Concatenate[Directory, str, _P], _R]:
    """Give an `OSError` the absolute path; the system knows only a name."""

    @functools.wraps(method)
    def call(
        self: Directory, path: str, /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        try:
            return method(self, path, *args, **kwargs)
        except OSError as error:
            if not os.path.isabs(error.filename or ""):
                error.filename = os.path.join(self.path, path)
                error.filename2 = None
            raise

    return call


class Directory:
    """A directory and everything below it.

    Making one touches nothing. Threads may share it. The directory is looked
    up by its path again and again until `hold` is called.

    Whoever may write below must be this user, root, or the owner of the
    directory: methods that write raise `AccessDenied` when a directory on
    the way belongs to anybody else.

    :param public: give new files mode 0644 and new directories mode 0755
        whatever the umask is.
    :ivar path: absolute, for messages.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, public: bool = False
    ) -> None:
        self.path = Path(path).absolute()
        self._public = public
        self._lock = threading.Lock()
        self._held: _Open | None = None
        self._open: collections.OrderedDict[str, _Open] = (
            collections.OrderedDict()
        )

    def hold(self) -> None:
        """Work in the present directory, whatever its path names later.

        :raises AccessDenied: when a symbolic link on the way belongs neither
            to this user nor to root.
        """
        if self._held is None:
            self._held = _Open(owners.open_directory(self.path))
            self.forget()

    def forget(self) -> None:
        """Look up all directories below by name again."""
        with self._lock:
            self._open.clear()

    @property
    def descriptor(self) -> int:
        """The descriptor of the directory, after `hold`."""
        if self._held is None:
            raise ValueError(f"{self.path} is not held")
        return self._held.descriptor

    def owner(self) -> int:
        """The user that the directory belongs to."""
        return os.fstat(self._root().descriptor).st_uid

    def _root(self) -> _Open:
        return self._held or self._kept(
            "",
            lambda: os.open(self.path, os.O_PATH | os.O_DIRECTORY | _CLOEXEC),
        )

    def _kept(self, path: str, opener: Callable[[], int]) -> _Open:
        with self._lock:
            known = self._open.get(path)
            if known and known.is_current():
                self._open.move_to_end(path)
                return known
        fresh = _Open(opener())
        with self._lock:
            self._open[path] = fresh
            self._open.move_to_end(path)
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        return fresh

    def _at(self, path: str) -> _Open:
        """The directory at a path."""
        if not path:
            return self._root()
        above, _ = _last(path)
        with self._lock:
            known = self._open.get(path)
            if known and known.is_current():
                self._open.move_to_end(path)
                return known
        parent = self._at(above)
        found = self._kept(path, lambda: self._open_below(parent, path))
        found.foreign = parent.foreign
        if found.foreign is None and not self._is_trusted(found):
            found.foreign = self.path / path
        return found

    def _open_below(self, parent: _Open, path: str) -> int:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | _CLOEXEC
        _, name = _last(path)
        try:
            return os.open(name, flags, dir_fd=parent.descriptor)
        except OSError as error:
            error.filename = str(self.path / path)
            raise

    def _is_trusted(self, directory: _Open) -> bool:
        user = os.fstat(directory.descriptor).st_uid
        return owners.is_trusted(user) or user == self.owner()

    def _split(self, path: str) -> tuple[_Open, str]:
        above, name = _last(path)
        return self._at(above), name

    def _writable(self, path: str) -> tuple[_Open, str]:
        above, name = self._split(path)
        if above.foreign:
            raise owners.refused(above.foreign, above.foreign.lstat().st_uid)
        return above, name

    # Reading

    @_named
    def status(self, path: str) -> os.stat_result | None:
        """Of the entry itself; None when there is none."""
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

    @_named
    def open_regular(self, path: str) -> io.FileIO | None:
        """Open a regular file for reading; None when there is none."""
        # Without O_NONBLOCK a planted FIFO would block for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | _CLOEXEC
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

    @_named
    def read_link(self, path: str) -> str | None:
        """The text of a symbolic link; None for anything else."""
        try:
            above, name = self._split(path)
            return os.readlink(name, dir_fd=above.descriptor)
        except OSError as error:
            if error.errno in ABSENT or error.errno == errno.EINVAL:
                return None
            raise

    @_named
    def entries(self, path: str) -> dict[str, Kind]:
        """The names in a directory, sorted; none when it is not there."""
        try:
            with (
                self._reading(path) as descriptor,
                os.scandir(descriptor) as entries,
            ):
                found = {entry.name: _kind(entry) for entry in entries}
        except OSError as error:
            if error.errno in ABSENT:
                return {}
            raise
        return dict(sorted(found.items()))

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[int]:
        """A descriptor that lists, locks, or changes the mode."""
        descriptor = os.open(
            ".",
            os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC,
            dir_fd=self._at(path).descriptor,
        )
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @_named
    def open_directory(self, path: str) -> int:
        """A descriptor of a directory for a lock; the caller closes it."""
        return os.open(
            ".",
            os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC,
            dir_fd=self._at(path).descriptor,
        )

    # Writing

    @_named
    def create(self, path: str, mode: int = 0o644) -> io.FileIO:
        """Open a new file for writing."""
        above, name = self._writable(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(
            name, flags | _CLOEXEC, mode, dir_fd=above.descriptor
        )
        if self._public:
            os.fchmod(descriptor, mode)
        return io.FileIO(descriptor, "w")

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a new file."""
        with self.create(path, mode) as file:
            write_all(file, content)

    def replace(
        self,
        path: str,
        content: bytes,
        mode: int = 0o644,
        *,
        staging: str | None = None,
    ) -> None:
        """Give a file this content; readers see the old or the new, whole.

        :param staging: the directory for the temporary file, by default that
            of the file.
        """
        if staging is None:
            staging = path.rpartition("/")[0]
        with self.staged(staging) as temporary:
            self.write(temporary, content, mode)
            self.rename(temporary, path)

    @contextlib.contextmanager
    def staged(self, folder: str = "") -> Iterator[str]:
        """A fresh name in a directory; a file left under it is removed."""
        path = join(folder, f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
        try:
            yield path
        finally:
            self.unlink(path)

    def remove_stale(self, folder: str, older_than: float) -> None:
        """Remove files that killed runs left under names of `staged`.

        :param older_than: time since the epoch; newer files may be those of
            a run that is still at work.
        """
        for name, kind in self.entries(folder).items():
            if kind is not Kind.FILE or not is_temporary(name):
                continue
            status = self.status(join(folder, name))
            if status and status.st_mtime < older_than:
                self.unlink(join(folder, name))

    @_named
    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory, and those missing above it.

        :raises AccessDenied: when a link or a file has its place.
        """
        if not path:
            return
        with contextlib.suppress(FileNotFoundError):
            self._require(path)
            return
        self.make_directory(_last(path)[0])
        parent, name = self._writable(path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent.descriptor)
            if self._public:
                self._change_mode(path, mode)
        self._require(path)

    def _require(self, path: str) -> None:
        try:
            found = self._at(path)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise errors.AccessDenied(
                    f"{error.filename}: not a directory; symbolic links are"
                    " not followed there",
                    hint="replace it by a directory",
                ) from error
            raise
        if found.foreign:
            raise owners.refused(found.foreign, found.foreign.lstat().st_uid)

    def _change_mode(self, path: str, mode: int) -> None:
        """Of a directory just made: empty, and this user's."""
        with self._reading(path) as descriptor:
            is_own = os.fstat(descriptor).st_uid == os.geteuid()
            if is_own and not os.listdir(descriptor):
                os.fchmod(descriptor, mode)

    @_named
    def keep_private(self, path: str) -> None:
        """Take a directory of this user away from all others."""
        with self._reading(path) as descriptor:
            status = os.fstat(descriptor)
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                os.fchmod(descriptor, 0o700)

    @_named
    def give(self, path: str, user: int, group: int) -> None:
        """Give an own file or directory to another user, if allowed to."""
        above, name = self._writable(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | _CLOEXEC
        descriptor = os.open(name, flags, dir_fd=above.descriptor)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, user, group)
        finally:
            os.close(descriptor)

    @_named
    def open_private(self, path: str) -> int:
        """Open a file for a lock, and make it if need be.

        :returns: a descriptor; the caller closes it.
        :raises AccessDenied: when it is not a regular file with a single
            name that belongs to this user, root, or the directory's owner.
        """
        above, name = self._writable(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(
                name, flags | _CLOEXEC, 0o600, dir_fd=above.descriptor
            )
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise self._not_plain(path) from error
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise self._not_plain(path)
        user = status.st_uid
        if not (owners.is_trusted(user) or user == self.owner()):
            os.close(descriptor)
            raise owners.refused(self.path / path, user)
        if user == os.geteuid() and status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        return descriptor

    def _not_plain(self, path: str) -> errors.AccessDenied:
        return errors.AccessDenied(
            f"{self.path / path}: not a regular file with one name",
            hint="remove it: it is made anew",
        )

    @_named
    def rename(self, path: str, new: str) -> None:
        """Rename, also from one directory to another."""
        above, name = self._writable(path)
        new_above, new_name = self._writable(new)
        try:
            os.rename(
                name,
                new_name,
                src_dir_fd=above.descriptor,
                dst_dir_fd=new_above.descriptor,
            )
        except OSError as error:
            error.filename = os.path.join(self.path, new)
            raise
        self._forget_below(path)

    def link(self, path: str, new: str, *, staging: str) -> bool:
        """Let `new` be another name of a file.

        :param staging: a directory of the same file system.
        :returns: False where only a copy would do.
        """
        try:
            with self.staged(staging) as temporary:
                self.link_new(path, temporary)
                self.rename(temporary, new)
        except OSError as error:
            if error.errno in _UNLINKABLE:
                return False
            raise
        return True

    @_named
    def link_new(self, path: str, new: str) -> None:
        """Let `new`, which is not there yet, be another name of a file."""
        above, name = self._split(path)
        new_above, new_name = self._writable(new)
        os.link(
            name,
            new_name,
            src_dir_fd=above.descriptor,
            dst_dir_fd=new_above.descriptor,
            follow_symlinks=False,
        )

    @_named
    def unlink(self, path: str) -> None:
        """Remove a file or a link, if it is there."""
        try:
            above, name = self._writable(path)
            os.unlink(name, dir_fd=above.descriptor)
        except OSError as error:
            if error.errno not in ABSENT:
                raise

    @_named
    def remove_empty(self, path: str) -> bool:
        """Remove a directory with nothing in it; whether it is gone."""
        try:
            above, name = self._writable(path)
            os.rmdir(name, dir_fd=above.descriptor)
        except OSError as error:
            if error.errno in ABSENT:
                return self.status(path) is None
            if error.errno not in _OCCUPIED:
                raise
            return False
        self._forget_below(path)
        return True

    @_named
    def remove_tree(self, path: str) -> None:
        """Remove a directory with all below; links are not followed."""
        above, name = self._writable(path)
        shutil.rmtree(name, dir_fd=above.descriptor)
        self._forget_below(path)

    def _forget_below(self, path: str) -> None:
        with self._lock:
            for known in [
                known
                for known in self._open
                if known == path or known.startswith(f"{path}/")
            ]:
                del self._open[known]


def join(folder: str, name: str) -> str:
    """The path of a name in a directory; an empty one is the top."""
    return f"{folder}/{name}" if folder else name


def is_temporary(name: str) -> bool:
    """Whether a name is one of `Directory.staged`."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write all of it, however little the system takes at a time."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def _last(path: str) -> tuple[str, str]:
    """A path without its last name, and that name."""
    above, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise ValueError(f"no path of names: {path!r}")
    return above, name


def _kind(entry: os.DirEntry[Any]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return Kind.FILE
    return Kind.OTHER
