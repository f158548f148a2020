"""The bytes of an archive: of one file, or of numbered parts of one."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.directory import Directory

_FLAGS = os.O_RDONLY | os.O_NONBLOCK


def part(name: str, number: int) -> str:
    """The name of a part."""
    return f"{name}.{number:03}"


class _Files:
    """Files that are one, all of the same size but for the last.

    Threads may share it.

    :param limit: bytes of a part; 0: all is one file.
    """

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._files: list[int] = []

    def _places(
        self, offset: int, size: int
    ) -> Iterator[tuple[int, int, int]]:
        """The part, the offset in it and the number of bytes, in order."""
        if not self._limit:
            yield 0, offset, size
            return
        while size:
            number, start = divmod(offset, self._limit)
            length = min(size, self._limit - start)
            yield number, start, length
            offset += length
            size -= length

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on, fewer only at the end."""
        content = bytearray()
        for number, start, length in self._places(offset, size):
            if number >= len(self._files):
                break
            file = self._files[number]
            while length:
                chunk = os.pread(file, length, start)
                if not chunk:
                    return bytes(content)
                content += chunk
                start += len(chunk)
                length -= len(chunk)
        return bytes(content)

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []


class Parts(_Files):
    """The file, or the parts, of an archive.

    :ivar size: of all together.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or its parts where there is none.

        :raises InvalidFile: when neither can be used.
        """
        super().__init__()
        try:
            self.size = self._open(path)
        except FileNotFoundError:
            sizes = self._open_parts(path)
            self._limit, self.size = sizes[0], sum(sizes)

    def _open_parts(self, path: Path) -> list[int]:
        sizes: list[int] = []
        while True:
            name = Path(part(str(path), len(sizes)))
            try:
                sizes.append(self._open(name))
            except FileNotFoundError:
                break
        if not sizes:
            raise errors.InvalidFile(
                str(path), "no such file, and no part of it"
            )
        for number, size in enumerate(sizes):
            last = number == len(sizes) - 1
            if size != sizes[0] and not (last and 0 < size < sizes[0]):
                self.close()
                raise errors.InvalidFile(
                    part(str(path), number),
                    f"{size} bytes, while the first part has {sizes[0]}",
                    hint="copy all parts again",
                )
        return sizes

    def _open(self, path: Path) -> int:
        """Open a file, and give its size."""
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise errors.InvalidFile(
                str(path), errors.reason(error)
            ) from error
        status = os.fstat(descriptor)
        self._files.append(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise errors.InvalidFile(str(path), "not a regular file")
        return status.st_size


class NewParts(_Files):
    """The same while it is written, under other names."""

    def __init__(self, directory: Directory, name: str, limit: int) -> None:
        super().__init__(limit)
        self._directory = directory
        self._name = name
        self._lock = threading.Lock()

    def open(self) -> int:
        """Open what an interrupted run has left, and give its size.

        What has been cut in another way is emptied.
        """
        self._file(0)
        number = 1
        while self._limit and self._directory.status(self._temporary(number)):
            self._file(number)
            number += 1
        sizes = [os.fstat(file).st_size for file in self._files]
        if self._limit and (
            any(size != self._limit for size in sizes[:-1])
            or sizes[-1] > self._limit
        ):
            self.truncate(0)
            return 0
        return sum(sizes)

    @property
    def lockable(self) -> int:
        """The descriptor of the first file."""
        return self._file(0)

    def _temporary(self, number: int) -> str:
        name = f"{self._name}.partial"
        return part(name, number) if self._limit else name

    def _final(self, number: int) -> str:
        return part(self._name, number) if self._limit else self._name

    def _file(self, number: int) -> int:
        with self._lock:
            while len(self._files) <= number:
                name = self._temporary(len(self._files))
                self._files.append(self._directory.open_private(name))
            return self._files[number]

    def write(self, offset: int, content: bytes) -> None:
        """Write all of it at an offset."""
        view = memoryview(content)
        for number, start, length in self._places(offset, len(content)):
            file = self._file(number)
            while length:
                written = os.pwrite(file, view[:length], start)
                view = view[written:]
                start += written
                length -= written

    def truncate(self, size: int) -> None:
        """End after so many bytes."""
        for number, file in enumerate(list(self._files)):
            start = number * self._limit
            own = min(self._limit, size - start) if self._limit else size
            os.ftruncate(file, max(0, own))

    def sync(self) -> None:
        """Return when all is on stable storage."""
        for file in list(self._files):
            os.fsync(file)

    def publish(self) -> None:
        """Rename the files to their names, the first one last.

        What is there under these names is replaced.
        """
        used = [file for file in self._files if os.fstat(file).st_size]
        mask = os.umask(0o077)
        os.umask(mask)
        for file in used:
            os.fchmod(file, 0o644 & ~mask)
        if self._limit:
            # A reader never sees parts of two archives as one.
            self._directory.unlink(self._name)
            self._remove_parts(self._name)
        for number in reversed(range(len(used))):
            self._directory.rename(
                self._temporary(number), self._final(number)
            )
        self._remove_parts(f"{self._name}.partial")
        if not self._limit:
            self._remove_parts(self._name)

    def remove(self) -> None:
        """Remove the files; none of them has its name yet."""
        self._remove_parts(f"{self._name}.partial")
        self._directory.unlink(self._temporary(0))

    def _remove_parts(self, name: str) -> None:
        """Remove the numbered parts of a name."""
        number = 0
        while self._directory.status(part(name, number)):
            self._directory.unlink(part(name, number))
            number += 1
