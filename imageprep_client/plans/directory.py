"""A plan that is a directory of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import posixpath
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.errors import printable
from imageprep_client.heat import document
from imageprep_client.host import directory as directories
from imageprep_client.host import locks, owners
from imageprep_client.host.directory import Directory
from imageprep_client.host.reading import Kind
from imageprep_client.plans import base
from imageprep_client.plans import files as plan_files
from imageprep_client.plans.files import PlanFile

#: Seconds to wait for a lock that another process has.
PATIENCE = 120.0
#: The kernel follows as many links.
_MAX_LINKS = 40
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = logging.getLogger(__name__)


class DirectoryFiles:
    """The files in a directory; symbolic links may not lead out of it.

    Readers and writers lock the directory itself, readers with a shared
    lock. A writer without a lock is noticed until the moment before a file
    is replaced. Within `locked` all paths are relative to the directory that
    is locked, whatever others rename meanwhile.

    :param patience: seconds to wait for the lock.
    """

    def __init__(
        self, path: str | os.PathLike[str], patience: float = PATIENCE
    ) -> None:
        self.name = os.fspath(path)
        self._path = Path(path).absolute()
        self._patience = patience
        self._locked = threading.local()

    def read(self, path: str) -> PlanFile | None:
        with self._reported(path, "cannot be read"):
            place = self._inside(path)
            file = self._directory.open_regular(place)
            if file is None:
                if self._directory.status(place) is None:
                    return None
                raise plan_files.error(self, path, "is not a regular file")
            with io.BufferedReader(file) as stream:
                content = stream.read(document.MAX_SIZE + 1)
        return PlanFile(content, hashlib.sha256(content).hexdigest())

    def read_many(self, paths: Iterable[str]) -> Mapping[str, PlanFile | None]:
        return plan_files.one_by_one(self, paths)

    def write(
        self, path: str, content: bytes, *, replaces: PlanFile | None
    ) -> None:
        with self._reported(path, "cannot be written"):
            place = self._inside(path)
            self._make(posixpath.dirname(place))
            if self.read(path) != replaces:
                raise plan_files.conflict(self, path)
            self._replace(place, content)

    def delete(self, path: str) -> None:
        folder, name = posixpath.split(path)
        with self._reported(path, "cannot be deleted"):
            place = directories.join(self._inside(folder), name)
            self._directory.unlink(place)

    def names(self, folder: str) -> Sequence[str]:
        with self._reported(folder, "cannot be read"):
            entries = self._directory.entries(self._inside(folder))
        return [
            f"{folder}/{name}"
            for name, kind in entries.items()
            if kind is Kind.FILE
        ]

    def check_writable(self, paths: Iterable[str]) -> None:
        """Try it with an empty file, which is removed at once."""
        for path in paths:
            with self._reported(path, "cannot be written"):
                self.read(path)
                folder = posixpath.dirname(self._inside(path))
                # Folders come into being with the file.
                while folder and self._directory.status(folder) is None:
                    folder = posixpath.dirname(folder)
                with self._directory.staged(folder) as probe:
                    self._directory.write(probe, b"", 0o600)

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool) -> Iterator[None]:
        """Each call opens the directory again: threads exclude each other.

        :raises PlanError: when another process has the lock for too long.
        """
        directory = Directory(self._path)
        with contextlib.ExitStack() as stack:
            try:
                directory.hold()
                descriptor = stack.enter_context(directory.open_directory(""))
                stack.enter_context(
                    locks.locked(
                        descriptor,
                        shared=not exclusive,
                        timeout=self._patience,
                        waiting=lambda: self._wait(descriptor),
                    )
                )
            except BlockingIOError:
                raise errors.PlanError(
                    f"plan {self.name}: {_lock_owner(descriptor)} has had it"
                    f" locked for {self._patience:.0f} s",
                    hint="try again when that process has ended",
                ) from None
            except errors.AccessDenied as error:
                raise errors.PlanError(
                    f"plan {self.name}: {error}", hint=error.hint
                ) from error
            except OSError as error:
                raise errors.PlanError(
                    f"plan {self.name}: {errors.reason(error)}",
                    hint="name the directory that has"
                    f" {base.PLAN_ENVIRONMENT} in it",
                ) from error
            self._locked.directory = directory
            stack.callback(delattr, self._locked, "directory")
            yield

    def forget_cached(self) -> Sequence[errors.PlanError]:
        """The plan has one name, which the directory need not have."""
        return plan_files.failures([self._forget_cached])

    def _forget_cached(self) -> None:
        for path in self.names(plan_files.CACHE):
            if plan_files.is_cached(path):
                self.delete(path)

    @property
    def _directory(self) -> Directory:
        """The directory that this thread has locked, or that of the path."""
        directory: Directory | None
        directory = getattr(self._locked, "directory", None)
        return directory or Directory(self._path)

    def _wait(self, descriptor: int) -> None:
        _log.info(
            "plan %s: waiting for %s, which has it locked",
            self.name,
            _lock_owner(descriptor),
        )

    def _make(self, folder: str) -> None:
        """Make a folder that belongs to the plan's owner, under sudo too."""
        directory = self._directory
        if not folder or directory.is_directory(folder):
            return
        self._make(posixpath.dirname(folder))
        directory.make_directory(folder, 0o755)
        owner = self._owner()
        directory.give(folder, owner.st_uid, owner.st_gid)

    def _replace(self, place: str, content: bytes) -> None:
        directory = self._directory
        owner = self._owner()
        old = directory.status(place)
        if old and (
            old.st_uid == owner.st_uid or owners.is_trusted(old.st_uid)
        ):
            owner = old
        mode = stat.S_IMODE(old.st_mode) & 0o777 if old else self._mode()
        folder = posixpath.dirname(place)
        with directory.staged(folder) as temporary:
            # Private until it has its owner and mode: the plan has passwords.
            # Without an older file it gets the mode that the umask leaves.
            first = 0o644 if mode is None else 0o600
            with directory.create(temporary, first) as file:
                directories.write_all(file, content)
                # As far as this user may.
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            directory.rename(temporary, place)
        directory.synchronise(folder)

    def _owner(self) -> os.stat_result:
        """The status of the directory itself, whose owner has the plan."""
        with self._directory.open_directory("") as descriptor:
            return os.fstat(descriptor)

    def _mode(self) -> int | None:
        """Permissions of a new file: nobody may read more than before."""
        status = self._directory.status(self._inside(base.PARAMETERS))
        return stat.S_IMODE(status.st_mode) & 0o777 if status else None

    @contextlib.contextmanager
    def _reported(self, path: str, what: str) -> Iterator[None]:
        """Turn an error of the system into one about a file of the plan."""
        try:
            yield
        except errors.AccessDenied as error:
            raise plan_files.error(
                self, path, f"{what}: {error}", error.hint
            ) from error
        except OSError as error:
            problem = f"{what}: {errors.reason(error)}"
            if error.errno in _FULL:
                raise errors.NoSpace(
                    f"plan {self.name}: {path}: {problem}",
                    hint=f"make room in {self.name}",
                ) from error
            hint = None
            if error.errno in (errno.EACCES, errno.EPERM):
                hint = f"read and write access to {self.name} is needed"
            raise plan_files.error(self, path, problem, hint) from error

    def _inside(self, path: str) -> str:
        """The path without symbolic links, which may not lead out."""
        names = path.split("/")[::-1]
        place: list[str] = []
        links = 0
        while names:
            name = names.pop()
            if name == ".." and place:
                place.pop()
            elif name == "..":
                raise plan_files.error(
                    self,
                    path,
                    "a symbolic link leads out of the plan",
                    "replace the link by the file",
                )
            elif name not in ("", "."):
                place.append(name)
                target = self._directory.read_link("/".join(place))
                if target is None:
                    continue
                place.pop()
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if posixpath.isabs(target):
                    place = []
                    target = os.path.relpath(
                        target, os.path.realpath(self._path)
                    )
                names.extend(target.split("/")[::-1])
        return "/".join(place)


def _lock_owner(descriptor: int) -> str:
    """The process that has the lock of an open file, for messages."""
    process = locks.owner(descriptor)
    if process is None:
        return "a process that this host does not show"
    try:
        user = owners.user_name(os.stat(f"/proc/{process}").st_uid)
        command = Path(f"/proc/{process}/comm").read_text(errors="replace")
    except OSError:
        return f"process {process}"
    return f"process {process} ({printable(command.strip())} of user {user})"
