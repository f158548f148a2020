"""Users whose links and directories are trusted: this user, and root."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import descriptors

#: The kernel follows as many links.
_MAX_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


class Untrusted(errors.AccessDenied):
    """A link, file or directory belongs to a stranger.

    :ivar problem: the message without the path.
    """

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        super().__init__(f"{path}: {problem}", hint=hint)
        self.problem = problem


def is_trusted(user: int) -> bool:
    """Whether a user is this one or root."""
    return user in (0, os.geteuid())


def user_name(user: int) -> str:
    """The name of a user, or the number if there is no name."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def refused(path: Path, user: int) -> Untrusted:
    """The error for something that belongs to a stranger."""
    return Untrusted(
        path,
        f"belongs to {user_name(user)}, who could lead what is written there"
        " elsewhere",
        f"remove it, or give it to root or to {user_name(os.geteuid())}",
    )


def open_directory(path: Path) -> int:
    """Open a directory, following only links of this user and of root.

    :param path: absolute.
    :returns: a descriptor with O_PATH; the caller closes it.
    :raises AccessDenied: when a link belongs to anybody else.
    """
    descriptor, last = _walk(path)
    if last is None:
        return descriptor
    try:
        os.stat(last, dir_fd=descriptor)
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_parent(path: Path) -> Iterator[tuple[int, str]]:
    """Open the directory of a file, following links as `open_directory`.

    A link in the place of the file is followed under the same condition.

    :returns: a descriptor with O_PATH, and the name of the file in it,
        which need not be there.
    """
    descriptor, last = _walk(path)
    try:
        if last is None:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        yield descriptor, last
    finally:
        os.close(descriptor)


def _walk(path: Path) -> tuple[int, str | None]:
    """The last directory on the way, and what follows it, if anything."""
    names = list(reversed(path.parts[1:]))
    links = 0
    descriptor = os.open("/", _DIRECTORY)
    try:
        while names:
            name = names.pop()
            try:
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            except FileNotFoundError:
                if names:
                    raise
                return descriptor, name
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                target = _link(descriptor, name, path)
                if target is None:
                    if names:
                        raise
                    return descriptor, name
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(
                        errno.ELOOP, os.strerror(errno.ELOOP)
                    ) from None
                parts = Path(target).parts
                if parts[:1] == ("/",):
                    parts = parts[1:]
                    os.close(descriptor)
                    descriptor = os.open("/", _DIRECTORY)
                names.extend(reversed(parts))
            else:
                os.close(descriptor)
                descriptor = below
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return descriptor, None


def _link(directory: int, name: str, path: Path) -> str | None:
    """The target of a link; None for anything else."""
    flags = os.O_PATH | os.O_NOFOLLOW
    with descriptors.opened(name, flags, dir_fd=directory) as link:
        # The owner and the text are those of one and the same link.
        status = os.fstat(link)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if not is_trusted(status.st_uid):
            raise Untrusted(
                path,
                f"the symbolic link {name} on the way belongs to"
                f" {user_name(status.st_uid)} and is not followed",
                "name the place itself, or one that is yours",
            )
        return os.readlink("", dir_fd=link)
