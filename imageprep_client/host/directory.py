"""A directory that is held open: no operation in it can be diverted.

Paths are relative to the directory, with ``/`` between names. Every directory
on the way is opened relative to the one above it, and symbolic links are never
followed. It does not matter what others rename meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import descriptors, disk, owners
from imageprep_client.host.opened import OpenDirectory, split
from imageprep_client.host.reading import (
    ABSENT,
    Kind,
    ReadableDirectory,
    named,
)

#: Reasons to refuse a hard link where a copy would still work.
UNLINKABLE = frozenset(
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


class Directory(ReadableDirectory):
    """A directory, and everything below it, to read and write.

    Whoever may write below must be this user, root, or the owner of the
    directory: methods that write raise `AccessDenied` when a directory on
    the way belongs to anybody else.

    :param public: give new files mode 0644 and new directories mode 0755
        whatever the umask is.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, public: bool = False
    ) -> None:
        super().__init__(path)
        self._public = public
        # Nothing is put into a new directory before it has its mode.
        self._making = threading.RLock()

    def _writable(self, path: str) -> tuple[OpenDirectory, str]:
        above, name = self._split(path)
        _check(above)
        return above, name

    def make(self) -> None:
        """Make the directory itself, but none above it, and hold it.

        :raises InvalidArgument: when it is no directory or cannot be one.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise errors.InvalidArgument(
                f"{self.path}: {disk.absence(self.path)}"
            )
        if not self.path.parent.is_dir():
            raise errors.InvalidArgument(
                f"{self.path}: {self.path.parent} is no directory",
                hint="create the directory above it first",
            )
        above = owners.open_directory(self.path.parent)
        try:
            os.mkdir(self.path.name, 0o755, dir_fd=above)
        except FileExistsError:
            self.hold()
        except OSError as error:
            error.filename = str(self.path)
            raise
        else:
            self.hold()
            if self._public:
                self._change_mode("", 0o755)
        finally:
            os.close(above)

    def synchronise(self, folder: str = "") -> None:
        """Make renames in a directory durable, where the file system can."""
        # The file is in place: that the directory cannot be synced, or may
        # be written and not read, is no failure.
        with (
            contextlib.suppress(OSError),
            self.open_directory(folder) as descriptor,
        ):
            os.fsync(descriptor)

    @named
    def check_access(self, path: str) -> None:
        """Check that files can be created in a directory.

        :raises PermissionError: when they cannot.
        """
        opened = self._opened.at(path)
        allowed = os.access(
            ".",
            os.R_OK | os.W_OK | os.X_OK,
            dir_fd=opened.descriptor,
            effective_ids=True,
        )
        if not allowed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    @named
    def create(self, path: str, mode: int = 0o644) -> io.FileIO:
        """Open a new file for writing."""
        above, name = self._writable(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(name, flags, mode, dir_fd=above.descriptor)
        if self._public:
            os.fchmod(descriptor, mode)
        return io.FileIO(descriptor, "w")

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        with self.create(path, mode) as file:
            write_all(file, content)

    @named
    def replace(
        self,
        path: str,
        /,
        content: bytes,
        mode: int = 0o644,
        *,
        staging: str | None = None,
    ) -> None:
        """Give a file this content; readers see the old or the new, whole.

        :param staging: the directory for the temporary file, by default that
            of the file.
        """
        above, name = self._writable(path)
        beside = above if staging is None else self._opened.at(staging)
        _check(beside)
        with replacing(
            above.descriptor, name, mode, staging=beside.descriptor
        ) as file:
            if self._public:
                os.fchmod(file.fileno(), mode)
            write_all(file, content)

    @contextlib.contextmanager
    def staged(self, folder: str = "") -> Iterator[str]:
        """A fresh name in a directory; a file left under it is removed."""
        path = join(folder, temporary_name())
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
            # A file with a second name is one that is being replaced.
            if (
                status
                and status.st_mtime < older_than
                and status.st_nlink == 1
            ):
                # In a shared directory it may be another user's.
                with contextlib.suppress(PermissionError):
                    self.unlink(join(folder, name))

    @named
    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory, and those missing above it.

        :raises AccessDenied: when a link or a file has its place.
        """
        if not path:
            return
        with self._making:
            with contextlib.suppress(FileNotFoundError):
                self._require(path)
                return
            self.make_directory(split(path)[0])
            parent, name = self._writable(path)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=parent.descriptor)
                if self._public:
                    self._change_mode(path, mode)
            self._require(path)

    def _require(self, path: str) -> None:
        try:
            found = self._opened.at(path)
        except OSError as error:
            link = Path(str(error.filename))
            if error.errno in (errno.ENOTDIR, errno.ELOOP) and (
                link.is_symlink()
            ):
                raise errors.AccessDenied(
                    f"{link}: a symbolic link, which is not followed",
                    hint="replace it by a directory",
                ) from error
            raise
        _check(found)

    def _change_mode(self, path: str, mode: int) -> None:
        """Set the mode of a new directory: empty, and of this user."""
        with self.open_directory(path) as descriptor:
            is_own = os.fstat(descriptor).st_uid == os.geteuid()
            if is_own and not os.listdir(descriptor):
                os.fchmod(descriptor, mode)

    @named
    def keep_private(self, path: str) -> None:
        """Take a directory of this user away from all others."""
        with self.open_directory(path) as descriptor:
            status = os.fstat(descriptor)
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                os.fchmod(descriptor, 0o700)

    @named
    def give(self, path: str, user: int, group: int) -> None:
        """Give an own file or directory to another user, if allowed to."""
        above, name = self._writable(path)
        with descriptors.opened(
            name,
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK,
            dir_fd=above.descriptor,
        ) as descriptor:
            if os.fstat(descriptor).st_uid == os.geteuid():
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, user, group)

    @named
    def open_private(self, path: str) -> int:
        """Open a file for a lock, and make it if need be.

        :returns: a descriptor; the caller closes it.
        :raises AccessDenied: when it is not a regular file with a single
            name that belongs to this user, root, or the directory's owner.
        """
        above, name = self._writable(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=above.descriptor)
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
            hint="remove it: it is made again",
        )

    @named
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
            error.filename2 = None
            raise
        self._opened.forget(path)

    def link(self, path: str, new: str, *, staging: str) -> bool:
        """Hard-link a file, and replace what has the new name.

        :param staging: a directory of the same file system.
        :returns: False where only a copy would do.
        """
        try:
            try:
                self.link_new(path, new)
            except FileExistsError:
                with self.staged(staging) as temporary:
                    self.link_new(path, temporary)
                    self.rename(temporary, new)
        except OSError as error:
            if error.errno in UNLINKABLE:
                return False
            raise
        return True

    @named
    def link_new(self, path: str, new: str) -> None:
        """Hard-link a file to a new name."""
        above, name = self._split(path)
        new_above, new_name = self._writable(new)
        os.link(
            name,
            new_name,
            src_dir_fd=above.descriptor,
            dst_dir_fd=new_above.descriptor,
            follow_symlinks=False,
        )

    @named
    def unlink(self, path: str) -> None:
        """Remove a file or a link, if it is there."""
        try:
            above, name = self._writable(path)
            os.unlink(name, dir_fd=above.descriptor)
        except OSError as error:
            if error.errno not in ABSENT:
                raise

    @named
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
        self._opened.forget(path)
        return True

    @named
    def remove_tree(self, path: str) -> None:
        """Remove a directory with all below; links are not followed."""
        above, name = self._writable(path)
        shutil.rmtree(name, dir_fd=above.descriptor)
        self._opened.forget(path)


def _check(directory: OpenDirectory) -> None:
    """Check that no other user controls the directory.

    :raises PermissionError: when this user may not write there anyway.
    """
    if directory.foreign is None:
        return
    if not os.access(
        ".", os.W_OK, dir_fd=directory.descriptor, effective_ids=True
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    raise owners.refused(directory.foreign, directory.foreign.lstat().st_uid)


@contextlib.contextmanager
def replacing(
    directory: int, name: str, mode: int, *, staging: int | None = None
) -> Iterator[io.FileIO]:
    """Write a file that gets its name when the block succeeds.

    Readers see the old file or the new one, whole. A failed block leaves
    nothing.

    :param directory: a descriptor.
    :param staging: a descriptor of the directory for the temporary file, on
        the same file system; by default `directory`.
    """
    beside = directory if staging is None else staging
    temporary = temporary_name()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, mode, dir_fd=beside)
        with io.FileIO(descriptor, "w") as file:
            yield file
        os.rename(temporary, name, src_dir_fd=beside, dst_dir_fd=directory)
    finally:
        # Also the second name of a file that was given its own name again.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=beside)


def join(folder: str, name: str) -> str:
    """The path of a name in a directory; an empty one is the top."""
    return f"{folder}/{name}" if folder else name


def temporary_name() -> str:
    """A fresh name for a file that will be renamed."""
    return f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"


def is_temporary(name: str) -> bool:
    """Whether a name is one that `temporary_name` gave."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write all bytes, in as many calls as it takes."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
