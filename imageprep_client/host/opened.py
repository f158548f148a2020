"""Descriptors of the directories below one, kept open for a while."""

from __future__ import annotations

import collections
import os
import resource
import threading
import time
from pathlib import Path

from imageprep_client.host import owners

#: Descriptors that are kept at most, and their share of all.
_MAX_OPEN = 64
_SHARE = 16
#: Seconds after which a directory is looked up by its name again.
_FRESH = 1.0
_FLAGS = os.O_PATH | os.O_DIRECTORY


class OpenDirectory:
    """An open directory; it is closed when nothing refers to it any more.

    A variable has to refer to it while the descriptor is used, since another
    thread may drop it from the known ones.

    :ivar foreign: the first directory on the way that belongs to a stranger.
    """

    __slots__ = ("descriptor", "foreign", "opened")

    def __init__(self, descriptor: int, foreign: Path | None = None) -> None:
        self.descriptor = descriptor
        self.foreign = foreign
        self.opened = time.monotonic()

    def __del__(self) -> None:
        os.close(self.descriptor)

    def owner(self) -> int:
        """The user that it belongs to."""
        return os.fstat(self.descriptor).st_uid

    def is_current(self) -> bool:
        """Whether the directory has not been removed, and is still fresh."""
        return (
            time.monotonic() - self.opened < _FRESH
            and os.fstat(self.descriptor).st_nlink > 0
        )


class OpenDirectories:
    """The directories below one; threads may share it.

    :param path: of the top, absolute.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held: OpenDirectory | None = None
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            limit = _MAX_OPEN * _SHARE
        self._most = min(_MAX_OPEN, limit // _SHARE)
        self._known: collections.OrderedDict[str, OpenDirectory] = (
            collections.OrderedDict()
        )

    def hold(self) -> None:
        """Keep the top open for good, by a path that nobody leads astray.

        :raises AccessDenied: when a link on the way belongs to a stranger.
        """
        if self._held is None:
            self._held = OpenDirectory(owners.open_directory(self._path))
            self.forget()

    def close(self) -> None:
        """Close all; the top is looked up by its path again."""
        self._held = None
        self.forget()

    def forget(self, path: str | None = None) -> None:
        """Look directories up by their names again.

        :param path: only this one, and those below it.
        """
        with self._lock:
            if path is None:
                self._known.clear()
                return
            for known in list(self._known):
                if known == path or known.startswith(f"{path}/"):
                    del self._known[known]

    def owner(self) -> int:
        """The user that the top belongs to."""
        return self.at("").owner()

    def at(self, path: str) -> OpenDirectory:
        """The directory at a relative path; links are not followed."""
        if not path and self._held:
            return self._held
        with self._lock:
            known = self._known.get(path)
            if known:
                self._known.move_to_end(path)
        # Under the lock, each system call would make other threads wait, for
        # the lock and for the interpreter.
        if known and known.is_current():
            return known
        opened = self._open(path)
        with self._lock:
            self._known[path] = opened
            self._known.move_to_end(path)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return opened

    def _open(self, path: str) -> OpenDirectory:
        if not path:
            return OpenDirectory(os.open(self._path, _FLAGS))
        folder, name = split(path)
        above = self.at(folder)
        try:
            descriptor = os.open(
                name, _FLAGS | os.O_NOFOLLOW, dir_fd=above.descriptor
            )
        except OSError as error:
            error.filename = str(self._path / path)
            raise
        opened = OpenDirectory(descriptor, above.foreign)
        user = opened.owner()
        if (
            opened.foreign is None
            and not owners.is_trusted(user)
            and user != self.owner()
        ):
            opened.foreign = self._path / path
        return opened


def split(path: str) -> tuple[str, str]:
    """A path without its last name, and that name."""
    above, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise ValueError(f"no path of names: {path!r}")
    return above, name
