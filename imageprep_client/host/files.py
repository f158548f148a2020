"""Files for results: replaced atomically, never under the control of others.

The directory of a file is opened once. Symbolic links on the way, and one in
the place of the file, are followed only when they belong to this user or to
root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk, owners
from imageprep_client.host.directory import (
    UNLINKABLE,
    replacing,
    temporary_name,
    write_all,
)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: The kernel follows as many links.
_MAX_LINKS = 40
#: Names of what this process has open.
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
#: Of a new file: nobody but its owner may ever write to it.
_MODE = 0o644


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """The place of a file that exists or will be created.

    :ivar directory: a descriptor.
    :ivar old: the file that is replaced, None when there is none.
    """

    directory: int
    name: str
    old: os.stat_result | None


def write(
    path: str,
    text: str | bytes,
    *,
    mode: int | None = None,
    backup: bool = False,
) -> None:
    """Replace the content of a file by a text in UTF-8, or by bytes.

    At every moment there is the old file or the new one. When this returns
    the new one survives a power failure; when it raises nothing changed,
    except that a backup may be newer. The target of a symbolic link is
    replaced, and the backup is beside the target.

    :param mode: permissions of the file, which will be this user's; by
        default a new file has 0644 less the umask, and an old file keeps its
        owner and permissions, unless it belongs to a stranger in a directory
        that is not the stranger's.
    :param backup: keep an old file as ``<file>.backup``, over an older one.
    :raises InvalidFile: when it cannot be written.
    :raises NoSpace: when the disk is full.
    """
    content = text.encode() if isinstance(text, str) else text
    with _reported(path), _placed(path) as place:
        _replace(place, content, mode, backup)


def check(path: str) -> None:
    """Check that `write` can write there; nothing is written.

    :raises InvalidFile: when it could not, as far as that can be known.
    """
    with _reported(path), _placed(path) as place:
        if not os.access(
            ".", os.W_OK | os.X_OK, dir_fd=place.directory, effective_ids=True
        ):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_different(paths: Iterable[str]) -> None:
    """Check that no two results are one file.

    :raises InvalidArgument: for the first that another one has taken.
    """
    taken: set[str] = set()
    for path in paths:
        target = os.path.realpath(path)
        if target in taken:
            raise errors.InvalidArgument(
                f"{path}: two results cannot be one file",
                hint="name different files",
            )
        taken.add(target)


def check_apart(path: str, others: Iterable[str]) -> None:
    """Check that a result is none of the files that are read.

    :raises InvalidArgument: when it is one.
    """
    target = os.path.realpath(path)
    if any(target == os.path.realpath(other) for other in others):
        raise errors.InvalidArgument(
            f"{path}: it was read for this run, and would be replaced",
            hint="name another file for the result",
        )


def check_outside(path: str, directory: str) -> None:
    """Check that a result is not in a directory.

    :raises InvalidArgument: when it is.
    """
    real = os.path.realpath(directory)
    if os.path.realpath(path).startswith(f"{real}{os.sep}"):
        raise errors.InvalidArgument(
            f"{path}: it is in {directory}, which is no place for results",
            hint="name a file outside of it",
        )


def append(path: str) -> io.TextIOWrapper:
    """Open a file for a log, and make it if need be.

    It is a regular file with one name that belongs to no stranger, a device
    of root's, or a stream that this process has open: never a FIFO, whose
    reader may never come.

    :raises InvalidFile: when it cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND
    with _reported(path):
        if path.startswith(_STREAMS):
            descriptor = os.open(path, flags)
        else:
            place = Path(path).absolute()
            with owners.opened_parent(place) as (directory, name):
                descriptor = os.open(
                    name,
                    flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK,
                    _MODE,
                    dir_fd=directory,
                )
                try:
                    _check_log(path, os.fstat(descriptor), directory)
                except BaseException:
                    os.close(descriptor)
                    raise
            fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
    return open(descriptor, "w", encoding="utf-8")


def _check_log(path: str, status: os.stat_result, directory: int) -> None:
    if stat.S_ISCHR(status.st_mode) and status.st_uid == 0:
        return
    if not stat.S_ISREG(status.st_mode):
        raise errors.InvalidFile(path, "is not a regular file")
    if status.st_nlink != 1:
        raise errors.InvalidFile(
            path, "the file has other names, too", hint="name a new file"
        )
    if not _is_familiar(status, directory):
        raise errors.InvalidFile(
            path,
            f"belongs to {owners.user_name(status.st_uid)}",
            hint="name a new file, in a directory that only you write to",
        )


def _is_familiar(status: os.stat_result, directory: int) -> bool:
    """Whether a file is this user's, root's, or of its directory's owner."""
    user = status.st_uid
    return owners.is_trusted(user) or user == os.fstat(directory).st_uid


@contextlib.contextmanager
def _placed(path: str) -> Iterator[_Place]:
    if _is_stream(path):
        raise errors.InvalidFile(
            path,
            "is not a regular file",
            hint="name a file; it is replaced as a whole",
        )
    with owners.opened_parent(Path(path).absolute()) as (directory, name):
        try:
            old = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            yield _Place(directory, name, None)
            return
        if not stat.S_ISREG(old.st_mode):
            raise errors.InvalidFile(path, "is not a regular file")
        yield _Place(directory, name, old)


def _is_stream(path: str) -> bool:
    """Whether the path, such as /dev/stdout, is that of an open file.

    Even if that is a regular file, the program that has it open would go on
    writing to the old one.
    """
    for _ in range(_MAX_LINKS):
        directory = os.path.dirname(os.path.abspath(path))
        if os.path.realpath(directory).startswith("/proc/"):
            return True
        if not os.path.islink(path):
            return False
        path = os.path.join(directory, os.readlink(path))
    return False


def _replace(
    place: _Place, content: bytes, mode: int | None, backup: bool
) -> None:
    fresh = mode is None and place.old is None
    # The umask applies to the fresh file; others stay private until they
    # have their owner and mode, as their content may be secret.
    with replacing(
        place.directory, place.name, _MODE if fresh else 0o600
    ) as file:
        write_all(file, content)
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        elif place.old:
            _dress(file.fileno(), place.old, place.directory)
        os.fsync(file.fileno())
        if backup and place.old:
            _keep(place)
    # The file is in place: a directory that may be written but not read, or
    # that cannot be synced, is no failure.
    with contextlib.suppress(OSError):
        disk.synchronise_directory(".", place.directory)


def _dress(descriptor: int, old: os.stat_result, directory: int) -> None:
    """Set owner and mode to those of the old file where that is safe.

    With sudo, a user's file stays that user's. A stranger's does not: it may
    have been put there to be filled.
    """
    if not _is_familiar(old, directory):
        os.fchmod(descriptor, old.st_mode & _MODE)
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o775)


def _keep(place: _Place) -> None:
    """Keep the old content as a backup; the file exists all the time."""
    backup, temporary = f"{place.name}.backup", temporary_name()
    at = {"src_dir_fd": place.directory, "dst_dir_fd": place.directory}
    try:
        os.link(place.name, temporary, follow_symlinks=False, **at)
        os.rename(temporary, backup, **at)
    except IsADirectoryError:
        raise errors.InvalidFile(
            backup, "is a directory, the backup cannot be written"
        ) from None
    except OSError as error:
        if error.errno not in UNLINKABLE:
            raise
        _copy(place, backup)
    finally:
        # A rename between two links of one file leaves both.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place.directory)


def _copy(place: _Place, new_name: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(place.name, flags, dir_fd=place.directory)
    with (
        open(descriptor, "rb") as old,
        replacing(place.directory, new_name, 0o600) as new,
    ):
        shutil.copyfileobj(old, new)
        os.fchmod(new.fileno(), os.fstat(descriptor).st_mode & 0o775)


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except owners.Untrusted as error:
        raise errors.InvalidFile(
            path, error.problem, hint=error.hint
        ) from error
    except OSError as error:
        raise _translate(path, error) from error
    except ValueError:
        # A zero byte.
        raise errors.InvalidFile(path, "is no file name") from None


def _translate(path: str, error: OSError) -> errors.ImagePrepError:
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    if isinstance(error, IsADirectoryError):
        return errors.InvalidFile(
            path, "is a directory", hint="name a file in it"
        )
    if error.errno == errno.ENXIO:
        return errors.InvalidFile(path, "is not a regular file")
    reason = errors.reason(error)
    if error.errno in _NO_SPACE:
        reason = disk.shortage(Path(directory), error)
        return errors.NoSpace(
            f"{path}: cannot be written: {reason}",
            hint=f"make room in {directory}",
        )
    if isinstance(error, FileNotFoundError) and not os.path.isdir(directory):
        return errors.InvalidFile(
            path,
            f"no such directory: {directory}",
            hint="create the directory first",
        )
    hint = None
    if isinstance(error, PermissionError):
        hint = f"write access to {directory} is needed"
    return errors.InvalidFile(path, f"cannot be written: {reason}", hint=hint)
