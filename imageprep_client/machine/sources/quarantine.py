"""The directory of downloads that are not yet verified."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import locks
from imageprep_client.host.directory import Directory

_MAX_NOTE = 16384


@dataclasses.dataclass(slots=True)
class QuarantinedFile:
    """A file that grows, and that no other run writes to.

    :ivar descriptor: open for reading and writing.
    :ivar validator: what the server calls the version of it that is here,
        for ``If-Range``; empty: it says nothing.
    """

    path: Path
    descriptor: int
    validator: str = ""

    @property
    def size(self) -> int:
        """The present size."""
        return os.fstat(self.descriptor).st_size

    def clear(self, validator: str = "") -> None:
        """Start again with another version."""
        os.ftruncate(self.descriptor, 0)
        self.validator = validator
        self._note().write_text(json.dumps({"validator": validator}))

    def append(self, data: bytes) -> None:
        """Write at the end."""
        view = memoryview(data)
        while view:
            view = view[os.pwrite(self.descriptor, view, self.size) :]

    def load(self) -> None:
        """Read what an earlier run noted."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            note = self._note().read_bytes()[:_MAX_NOTE]
            self.validator = str(json.loads(note)["validator"])

    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def remove(self) -> None:
        """Remove the file and its note."""
        self.path.unlink(missing_ok=True)
        self._note().unlink(missing_ok=True)

    def digest(self) -> str:
        """The SHA-256 of the present content, in hexadecimal."""
        with open(os.dup(self.descriptor), "rb", buffering=0) as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()


class Quarantine:
    """Files that only root can reach, by what they should be.

    :param path: made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def file(
        self, name: str, source: str, waiting: Callable[[str], None]
    ) -> Iterator[QuarantinedFile]:
        """The file of a name, as an earlier run left it.

        :param name: such as ``sha256-<hexadecimal>``.
        :param source: where its content comes from, for messages.
        :param waiting: is told when another run has the file.
        :raises StoreError: when the directory cannot be used.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            top = Directory(self.path)
            top.hold()
            descriptor = top.open_private(f"{name}.part")
            top.close()
        except OSError as error:
            raise errors.StoreError(
                f"{self.path}: cannot be used: {errors.reason(error)}",
                hint=errors.as_root(error),
            ) from error
        file = QuarantinedFile(self.path / f"{name}.part", descriptor)
        try:
            told = f"{file.path}: another run fetches it"
            with locks.locked(descriptor, waiting=lambda: waiting(told)):
                file.load()
                yield file
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise errors.NoSpace(
                    f"{source}: {self.path}: {errors.reason(error)}",
                    hint=f"free some space in {self.path}; the part is kept",
                ) from error
            raise
        finally:
            os.close(descriptor)
