"""Files that are replaced whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat

from imageprep_client import errors

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
# What a file system, or the kernel's protected_hardlinks, answers to a link
# that it does not allow.
_NO_LINK = frozenset(
    {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
)

# So many links the kernel follows.
_MAX_LINKS = 40


def write(
    path: str,
    text: str | bytes,
    *,
    mode: int | None = None,
    backup: bool = False,
) -> None:
    """Let the file at `path` hold `text`, in UTF-8, or these bytes.

    At every moment there is the old file or the new one. When this returns
    the new one survives a power failure; when it raises nothing changed,
    except that a backup may be newer. Of a symbolic link the file that it
    points to is replaced, and the backup is beside that file.

    :param mode: permissions; without it those, and the owner, of the old
        file are kept, and a new file has what the umask leaves.
    :param backup: keep an old file as ``<file>.backup``, over an older one.
    :raises InvalidFile: when it cannot be written.
    :raises NoSpace: when the disk is full.
    """
    target = os.path.realpath(path)
    content = text.encode() if isinstance(text, str) else text
    try:
        _replace(path, target, content, mode, backup)
    except OSError as error:
        raise _translate(path, target, error) from error


def check(path: str) -> None:
    """Find out whether `write` could write there; nothing is written.

    :raises InvalidFile: when it could not, as far as that can be known.
    """
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    try:
        _existing(path, target)
        os.stat(os.path.join(directory, ""))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _translate(path, target, error) from error


def _replace(
    path: str, target: str, content: bytes, mode: int | None, backup: bool
) -> None:
    old = _existing(path, target)
    directory = os.path.dirname(target)
    temporary = _temporary_name(directory)
    try:
        _write_new(temporary, content, mode, old)
        if backup and old:
            _keep(target, f"{target}.backup")
        os.rename(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(temporary)
    _sync_directory(directory)


def _existing(path: str, target: str) -> os.stat_result | None:
    """The file that is replaced, None when there is none."""
    if _is_stream(path):
        raise errors.InvalidFile(
            path,
            "is not a regular file",
            hint="name a file; it is replaced as a whole",
        )
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise errors.InvalidFile(
            path, "is a directory", hint="name a file in it"
        )
    if not stat.S_ISREG(old.st_mode):
        raise errors.InvalidFile(path, "is not a regular file")
    return old


def _is_stream(path: str) -> bool:
    """Whether the path, such as /dev/stdout, is that of an open file.

    That may well be a regular one, but whoever has it open would go on
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


def _temporary_name(directory: str) -> str:
    """A name in the same directory: only there a rename is atomic."""
    return os.path.join(directory, f".imageprep-{secrets.token_hex(8)}.tmp")


def _write_new(
    temporary: str,
    content: bytes,
    mode: int | None,
    old: os.stat_result | None,
) -> None:
    fresh = mode is None and old is None
    # The umask applies to the fresh file; others stay private until they
    # have their owner and mode, as their content may be secret.
    descriptor = os.open(
        temporary,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
        0o666 if fresh else 0o600,
    )
    with open(descriptor, "wb") as file:
        file.write(content)
        if old:
            _keep_owner(descriptor, old)
        if mode is not None:
            os.fchmod(descriptor, mode)
        elif old:
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        file.flush()
        os.fsync(descriptor)


def _keep_owner(descriptor: int, old: os.stat_result) -> None:
    """As far as the user may: sudo must not take a user's file away."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)


def _keep(target: str, backup: str) -> None:
    """Let `backup` hold what `target` holds; `target` stays all the time."""
    if os.path.isdir(backup):
        raise errors.InvalidFile(
            backup, "is a directory, the backup cannot be written"
        )
    temporary = _temporary_name(os.path.dirname(backup))
    try:
        try:
            os.link(target, temporary)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copy2(target, temporary)
        os.rename(temporary, backup)
    finally:
        # A rename between two links of one file leaves both.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _sync_directory(directory: str) -> None:
    """Make the rename durable, where the file system can."""
    # The file is in place: a directory that may be written but not read,
    # or that cannot be synced, is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _translate(
    path: str, target: str, error: OSError
) -> errors.ImagePrepError:
    reason = (error.strerror or "unknown reason").lower()
    if error.errno in _NO_SPACE:
        return errors.NoSpace(
            f"{path}: cannot be written: {reason}",
            hint=f"make room in {os.path.dirname(target)}",
        )
    directory = os.path.dirname(target)
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
