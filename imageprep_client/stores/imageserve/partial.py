"""What interrupted pushes left: beginnings of blobs, for the next to take up.

Such a file is named by the digest of the whole blob. Its bytes are not
trusted: who takes it up hashes them again with the rest.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor

_SUFFIX = ".part"
#: Less is fetched again sooner than it is looked after.
_WORTHWHILE = 1024 * 1024
#: Seconds after which nobody is expected to come back for a beginning.
_FORGOTTEN = 7 * 24 * 3600.0


class Partials:
    """The beginnings in one staging directory; threads may share it."""

    def __init__(self, incoming: Path) -> None:
        self._incoming = incoming
        self._lock = threading.Lock()
        self._known: dict[str, Path] = {}

    def scan(self) -> None:
        """Learn what earlier runs left, and remove what is of no use.

        The caller keeps other writers out.
        """
        known: dict[str, Path] = {}
        oldest = time.time() - _FORGOTTEN
        for path in self._incoming.glob(f"*{_SUFFIX}"):
            digest = path.name.partition(".")[0]
            size = disk.regular_size(path) or 0
            useful = (
                digests.is_valid(digest)
                and size >= _WORTHWHILE
                and path.lstat().st_mtime > oldest
            )
            rival = known.get(digest)
            if useful and rival and (disk.regular_size(rival) or 0) >= size:
                useful = False
            if not useful:
                path.unlink()
                continue
            if rival:
                rival.unlink()
            known[digest] = path
        with self._lock:
            self._known = known

    @property
    def names(self) -> frozenset[str]:
        """The names of the files that are kept."""
        with self._lock:
            return frozenset(path.name for path in self._known.values())

    @contextlib.contextmanager
    def staged(self, blob: Descriptor) -> Iterator[Path]:
        """A fresh name to write the blob under.

        When the block fails what was written is kept, unless the content
        itself was wrong.
        """
        name = f"{blob.digest}.{secrets.token_hex(8)}{_SUFFIX}"
        path = self._incoming / name
        try:
            yield path
        except errors.InvalidContent:
            _remove(path)
            raise
        except BaseException:
            self._keep(blob, path)
            raise
        else:
            _remove(path)

    def _keep(self, blob: Descriptor, path: Path) -> None:
        size = disk.regular_size(path)
        if size is None:
            return
        if size < _WORTHWHILE:
            _remove(path)
            return
        with self._lock:
            rival = self._known.get(blob.digest)
            if rival:
                _remove(rival)
            self._known[blob.digest] = path

    def take(self, blob: Descriptor) -> tuple[io.FileIO, int] | None:
        """The beginning of a blob and its length; it is had only once."""
        with self._lock:
            path = self._known.pop(blob.digest, None)
        if path is None:
            return None
        file = disk.open_regular(self._incoming, path)
        size = disk.regular_size(path)
        _remove(path)
        if file is None or size is None:
            return None
        if size >= blob.size:
            file.close()
            return None
        return file, size


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
