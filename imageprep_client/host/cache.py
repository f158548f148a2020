"""Content that is kept between runs, to save requests.

Content is kept by its digest, and the caller compares the two whenever it is
read. A cache that cannot be read or written is passed over: all of it can be
had again.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import inputs, owners
from imageprep_client.host.directory import replacing, write_all

_NAME = "imageprep-client"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
#: Content over this size is not kept; real manifests and configs have some
#: kilobytes.
_MAX_CONTENT = 1024 * 1024
_MAX_TOTAL = 64 * 1024 * 1024
_MAX_RECORD = 16 * 1024 * 1024
#: Seconds for which an image that was seen whole is taken to be whole.
_FRESH = 24 * 3600.0


def directory(environment: Mapping[str, str], home: Path) -> Path:
    """The directory of this program in the user's cache.

    :param environment: for ``XDG_CACHE_HOME``, which has to be absolute.
    """
    given = environment.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else home / ".cache"
    return base / _NAME


class ContentCache:
    """Small content by digest or name, in private files of one directory.

    Files appear whole. The oldest are removed when all together exceed the
    bound. Safe for use by several threads and processes.

    :param limit: bytes of all files, and of all content that is added.
    """

    def __init__(self, path: Path, limit: int = _MAX_TOTAL) -> None:
        self._path = path
        self._limit = self._left = limit
        self._added: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, digest: str) -> bytes | None:
        """The bytes kept under a digest, which may be any bytes."""
        try:
            return self._added.get(digest) or inputs.read(
                self._path / _name(digest), _MAX_CONTENT
            )
        except OSError:
            return None

    def add(self, digest: str, content: bytes) -> None:
        """Keep content from `save` on, if that is possible."""
        with self._lock:
            if len(content) <= min(_MAX_CONTENT, self._left):
                self._left -= len(content)
                self._added[digest] = content

    def save(self) -> None:
        """Write what was added, and remove the oldest files over the bound.

        To write while a run is busy takes four times as long.
        """
        if not self._added:
            return
        _write(
            self._path,
            {_name(digest): text for digest, text in self._added.items()},
        )
        left = self._limit
        for _, size, path in sorted(self._files(), reverse=True):
            left -= size
            if left < 0:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        with contextlib.suppress(OSError), os.scandir(self._path) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield status.st_mtime, status.st_size, Path(entry.path)


class CheckedImages:
    """When images of registries were last seen whole, in a private file.

    Safe for use by several threads.

    :param now: seconds since the epoch.
    :param recheck: whether to ignore what earlier runs saw.
    """

    def __init__(
        self, path: Path, *, now: float | None = None, recheck: bool = False
    ) -> None:
        self._path = path
        self._now = time.time() if now is None else now
        self._known = {} if recheck else self._read()
        self._noted: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def is_fresh(self, image: str, digest: str) -> bool:
        """Whether the image was seen whole within the last day."""
        known = self._known.get(image)
        return known is not None and known[0] == digest

    def note(self, image: str, digest: str) -> None:
        """Note that all of an image is in place now."""
        with self._lock:
            self._noted[image] = (digest, self._now)

    def save(self) -> None:
        """Write what was noted, beside what other runs have written."""
        if self._noted:
            record = {**self._read(), **self._noted}
            content = json.dumps(record).encode()
            _write(self._path.parent, {self._path.name: content})

    def _read(self) -> dict[str, tuple[str, float]]:
        """The fresh entries; none when the file is damaged or another's."""
        try:
            if self._path.lstat().st_uid != os.geteuid():
                # Another user could have images passed over.
                return {}
            entries = json.loads(inputs.read(self._path, _MAX_RECORD))
            return {
                str(image): (str(digest), float(when))
                for image, (digest, when) in entries.items()
                if 0 <= self._now - float(when) < _FRESH
            }
        except (*errors.MALFORMED, OSError):
            return {}


def _name(digest: str) -> str:
    return digest.replace(":", "-")


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """Replace files of this user in a directory, as far as that is possible.

    Nothing is made below a directory of a stranger, such as the home of
    another user that sudo kept, nor behind a link of one.
    """
    with (
        contextlib.suppress(OSError, owners.Untrusted),
        contextlib.ExitStack() as stack,
    ):
        directory = _own_directory(path)
        stack.callback(os.close, directory)
        for name, content in files.items():
            with (
                contextlib.suppress(OSError),
                replacing(directory, name, 0o600) as file,
            ):
                write_all(file, content)


def _own_directory(path: Path) -> int:
    """Open a directory of this user, which is made if need be.

    :raises OSError: when it does not exist and cannot be made.
    :raises Untrusted: when it belongs to a stranger, or would be made below
        what belongs to one.
    """
    try:
        descriptor = owners.open_directory(path)
    except FileNotFoundError:
        above = _own_directory(path.parent)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path.name, 0o700, dir_fd=above)
            descriptor = os.open(path.name, _DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    owner = os.fstat(descriptor).st_uid
    if owner != os.geteuid():
        os.close(descriptor)
        raise owners.refused(path, owner)
    return descriptor
