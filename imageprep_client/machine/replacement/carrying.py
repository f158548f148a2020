"""Carry over what belongs to a machine from its old root to its new one.

Both roots hold files of strangers: every directory on the way is opened
without following links, so that nothing outside the two roots is read or
written. Owners, modes, times and extended attributes are kept.

`CarriedFiles.update` is called twice: while the old root is still in use, and
once more when nothing writes to it. The second call copies what changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.descriptors import opened
from imageprep_client.machine.scrub import Category, Scrub, ScrubbedPath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
#: Bytes that the kernel copies at once.
_CHUNK = 1 << 30
#: Directories in one another: both of each level are open.
_DEEPEST = 200
#: Reasons to copy through memory: another file system, or no such call.
_UNSUPPORTED = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
)
#: State of the kernel about a file, which cannot be copied.
_UNCOPIED_ATTRIBUTES = ("trusted.overlay.", "security.ima", "security.evm")


def added(path: str) -> ScrubbedPath:
    """A path that the user adds to the list.

    :param path: absolute, as seen in the machine.
    :raises InvalidArgument: when it is none.
    """
    parts = path.split("/")
    relative = "/".join(filter(None, parts))
    if not path.startswith("/") or ".." in parts or not relative:
        raise errors.InvalidArgument(
            f"--carry {path}: not an absolute path in the machine",
            hint="such as /etc/ssl/private",
        )
    return ScrubbedPath(relative, Category.DATA, Scrub.REMOVE)


class CarriedFiles:
    """Paths to carry over to a new root, which is held open.

    :param new: the root that the files go to.
    :ivar files: the number of copied files.
    :ivar size: their bytes.
    """

    def __init__(self, new: Path) -> None:
        self._to = os.open(new, _DIRECTORY)
        self._stamps: dict[str, tuple[int, ...]] = {}
        # The paths that the old root has now.
        self._seen: set[str] = set()
        self._first = True
        self.files = 0
        self.size = 0

    def close(self) -> None:
        """Close the new root."""
        os.close(self._to)

    def update(self, old: Path, paths: Sequence[ScrubbedPath]) -> None:
        """Bring the new root up to date.

        :param old: the root that the files come from.
        :param paths: the list.
        :raises InvalidContent: when a link or a file of the new root has the
            place of a directory on the way.
        """
        self._seen = set()
        with opened(old, _DIRECTORY & ~os.O_NOFOLLOW) as source:
            for carried in paths:
                with _parents(source, self._to, carried.path) as (above, new):
                    if above >= 0:
                        name = carried.path.rpartition("/")[2]
                        self._carry(carried, above, new, name)
            gone = self._stamps.keys() - self._seen
            for path in sorted(gone, reverse=True):
                del self._stamps[path]
                with _parents(source, self._to, path) as (_, new):
                    _remove(new, path.rpartition("/")[2])
        self._first = False

    def _carry(
        self, carried: ScrubbedPath, old: int, new: int, name: str
    ) -> None:
        if carried.action is Scrub.LOCK:
            if self._changed(carried.path, old, name):
                _merge_users(old, new, name)
                self.files += 1
            return
        merge = carried.action is Scrub.KEEP_DIRECTORIES
        if self._first and not merge:
            _remove(new, name)
        self._copy(carried.path, old, new, name)

    def _changed(self, path: str, directory: int, name: str) -> bool:
        """Whether the path exists and has changed since it was copied."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        self._seen.add(path)
        stamp = (
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        if self._stamps.get(path) == stamp:
            return False
        self._stamps[path] = stamp
        return True

    def _copy(self, path: str, old: int, new: int, name: str) -> None:
        changed = self._changed(path, old, name)
        if path not in self._seen:
            return
        try:
            mode = os.stat(name, dir_fd=old, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                self._copy_directory(path, old, new, name)
            elif changed and stat.S_ISREG(mode):
                self.size += _copy_file(old, new, name)
                self.files += 1
            elif changed and stat.S_ISLNK(mode):
                _remove(new, name)
                os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
                _give(old, new, name)
                self.files += 1
            # Sockets, pipes and devices are made again by their services.
        except FileNotFoundError:
            # The machine runs: its files come and go.
            self._seen.discard(path)

    def _copy_directory(
        self, path: str, old: int, new: int, name: str
    ) -> None:
        if path.count("/") >= _DEEPEST:
            raise errors.InvalidContent(
                f"{path[:100]}: has too many directories in one another to be"
                " carried over",
                hint="remove them, or carry nothing over with --no-carry",
            )
        with opened(name, _DIRECTORY, dir_fd=old) as source:
            try:
                os.mkdir(name, 0o700, dir_fd=new)
            except FileExistsError:
                status = os.stat(name, dir_fd=new, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    _remove(new, name)
                    os.mkdir(name, 0o700, dir_fd=new)
            with opened(name, _DIRECTORY, dir_fd=new) as target:
                for entry in sorted(os.listdir(source)):
                    self._copy(f"{path}/{entry}", source, target, entry)
                _dress(source, target)


@contextlib.contextmanager
def _parents(old: int, new: int, path: str) -> Iterator[tuple[int, int]]:
    """The directories that a path is in, in both roots.

    Those missing in the new root are made as they are in the old one. The
    first descriptor is -1 when the old root does not have the directory.
    """
    with contextlib.ExitStack() as stack:
        at_old, at_new = old, new
        walked = ""
        for part in path.split("/")[:-1]:
            walked = f"{walked}/{part}"
            try:
                at_old = os.open(part, _DIRECTORY, dir_fd=at_old)
            except OSError:
                # Not there any more, or a link, whose target is listed.
                yield -1, -1
                return
            stack.callback(os.close, at_old)
            made = False
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=at_new)
                made = True
            try:
                at_new = os.open(part, _DIRECTORY, dir_fd=at_new)
            except OSError as error:
                raise errors.InvalidContent(
                    f"{walked} of the new root is no directory, and the old"
                    " root's is to be carried over",
                    hint="carry nothing with --no-carry, or use another image",
                ) from error
            stack.callback(os.close, at_new)
            if made:
                _dress(at_old, at_new)
        yield at_old, at_new


def _remove(directory: int, name: str) -> None:
    """Remove the file or directory of a name, if there is one."""
    if directory < 0:
        return
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)


def _copy_file(old: int, new: int, name: str) -> int:
    """Copy a regular file in place of whatever has its name.

    :returns: its size.
    """
    with opened(name, _FILE, dir_fd=old) as source:
        _remove(new, name)
        with opened(name, _NEW, 0o600, dir_fd=new) as target:
            size = _copy_content(source, target)
            _dress(source, target)
    return size


def _copy_content(source: int, target: int) -> int:
    size = 0
    try:
        while count := os.copy_file_range(source, target, _CHUNK):
            size += count
        # Some file systems say so of files that they make up.
        if size:
            return size
    except OSError as error:
        if size or error.errno not in _UNSUPPORTED:
            raise
    while data := os.read(source, 1 << 20):
        size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
    return size


def _dress(source: int, target: int) -> None:
    """Copy owner, mode, attributes and times of a file or directory."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    # After the owner, whose change takes set-id bits and capabilities.
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    names = os.listxattr(source)
    for name in set(os.listxattr(target)) - set(names):
        with contextlib.suppress(OSError):
            os.removexattr(target, name)
    for name in names:
        if not name.startswith(_UNCOPIED_ATTRIBUTES):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _give(old: int, new: int, name: str) -> None:
    """Copy owner and times of a symbolic link."""
    status = os.stat(name, dir_fd=old, follow_symlinks=False)
    os.chown(
        name, status.st_uid, status.st_gid, dir_fd=new, follow_symlinks=False
    )
    os.utime(
        name,
        ns=(status.st_atime_ns, status.st_mtime_ns),
        dir_fd=new,
        follow_symlinks=False,
    )


def _merge_users(old: int, new: int, name: str) -> None:
    """Give the users of the new root the passwords that they had.

    Users whom only the old root has are left out: nothing else names them.
    """
    lines = {
        line.partition(b":")[0]: line for line in _read(old, name).splitlines()
    }
    try:
        content = _read(new, name)
    except FileNotFoundError:
        _copy_file(old, new, name)
        return
    merged = [
        lines.get(line.partition(b":")[0], line)
        for line in content.splitlines()
    ]
    with opened(name, _FILE, dir_fd=old) as source:
        os.unlink(name, dir_fd=new)
        target = os.open(name, _NEW, 0o600, dir_fd=new)
        with open(target, "wb") as file:
            file.write(b"".join(line + b"\n" for line in merged))
            file.flush()
            _dress(source, target)


def _read(directory: int, name: str) -> bytes:
    descriptor = os.open(name, _FILE, dir_fd=directory)
    with open(descriptor, "rb") as file:
        return file.read(1 << 22)
