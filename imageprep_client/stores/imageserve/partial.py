"""Beginnings of blobs that interrupted pushes left, for the next to resume.

Such a file is named by the digest of the whole blob. Its bytes are not
trusted: a push that resumes hashes them again with the rest.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import threading
import time
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.host.directory import Directory
from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor

_SUFFIX = ".part"
#: Less is fetched again faster than it is kept.
_WORTHWHILE = 1024 * 1024
#: Seconds after which no push is expected to resume.
_FORGOTTEN = 7 * 24 * 3600.0


class Partials:
    """The beginnings in one staging directory; threads may share it.

    :param incoming: the path of the staging directory in the tree.
    """

    def __init__(self, tree: Directory, incoming: str) -> None:
        self._tree = tree
        self._incoming = incoming
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def scan(self) -> None:
        """Find the files of earlier runs, and remove those of no use.

        The caller keeps other writers out.
        """
        known: dict[str, tuple[int, str]] = {}
        oldest = time.time() - _FORGOTTEN
        for name, kind in self._tree.entries(self._incoming).items():
            digest = name.partition(".")[0]
            if not name.endswith(_SUFFIX) or not digests.is_valid(digest):
                continue
            path = f"{self._incoming}/{name}"
            size = self._useful_size(path, oldest) if kind is Kind.FILE else 0
            rival_size, rival = known.get(digest, (0, ""))
            if size <= rival_size:
                self._tree.unlink(path)
                continue
            if rival:
                self._tree.unlink(rival)
            known[digest] = size, path
        with self._lock:
            self._known = {digest: path for digest, (_, path) in known.items()}

    def _useful_size(self, path: str, oldest: float) -> int:
        """The bytes of a beginning; 0 when it is not worth keeping."""
        status = self._tree.status(path)
        if status is None or status.st_mtime <= oldest:
            return 0
        return status.st_size if status.st_size >= _WORTHWHILE else 0

    @property
    def names(self) -> frozenset[str]:
        """The names of the files that are kept."""
        with self._lock:
            return frozenset(
                path.rpartition("/")[2] for path in self._known.values()
            )

    @contextlib.contextmanager
    def staged(self, blob: Descriptor) -> Iterator[str]:
        """A fresh name to write the blob under.

        When the block fails what was written is kept, unless the content
        itself was wrong.
        """
        name = f"{blob.digest}.{secrets.token_hex(8)}{_SUFFIX}"
        path = f"{self._incoming}/{name}"
        try:
            yield path
        except errors.InvalidContent:
            self._tree.unlink(path)
            raise
        except BaseException:
            self._keep(blob, path)
            raise
        else:
            self._tree.unlink(path)

    def _keep(self, blob: Descriptor, path: str) -> None:
        size = self._tree.regular_size(path)
        if size is None:
            return
        if size < _WORTHWHILE:
            self._tree.unlink(path)
            return
        with self._lock:
            rival = self._known.get(blob.digest)
            if rival:
                self._tree.unlink(rival)
            self._known[blob.digest] = path

    def take(self, blob: Descriptor) -> tuple[io.FileIO, int] | None:
        """Return the beginning of a blob and its length, only once."""
        with self._lock:
            path = self._known.pop(blob.digest, None)
        if path is None:
            return None
        file = self._tree.open_regular(path)
        size = self._tree.regular_size(path)
        self._tree.unlink(path)
        if file is None or size is None:
            return None
        if size >= blob.size:
            file.close()
            return None
        return file, size
