"""Files of stores: what the system may say, and what is made of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import disk, files


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, errors.NoSpace),
        (errno.EDQUOT, errors.NoSpace),
        (errno.EFBIG, errors.NoSpace),
        (errno.EACCES, errors.AccessDenied),
        (errno.EPERM, errors.AccessDenied),
        (errno.EROFS, errors.AccessDenied),
        (errno.EIO, errors.StoreError),
    ],
)
def test_reported(
    tmp_path: Path, number: int, expected: type[errors.StoreError]
) -> None:
    """Each error of the system is one of the package, with its reason."""
    reason = os.strerror(number)
    with (
        pytest.raises(expected, match=reason.lower()),
        disk.reported(tmp_path),
    ):
        raise OSError(number, reason)


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EACCES, "sudo"), (errno.EROFS, "mount it")]
)
def test_remedies(tmp_path: Path, number: int, remedy: str) -> None:
    """Missing rights and read-only file systems have their own remedies."""
    with pytest.raises(errors.AccessDenied) as caught, disk.reported(tmp_path):
        raise OSError(number, os.strerror(number))
    assert remedy in str(caught.value.hint)


def test_reported_names_the_file(tmp_path: Path) -> None:
    """Where the system names a file, so does the error."""
    with (
        pytest.raises(errors.StoreError, match="gone: no such file"),
        disk.reported(tmp_path),
    ):
        (tmp_path / "gone").stat()


def test_free_space_of_what_is_not_there(tmp_path: Path) -> None:
    """It is that of the nearest directory that is."""
    assert disk.free_space(tmp_path / "a" / "b") > 0


def test_synchronise_without_syncfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the C library lacks it, everything is synchronised."""
    called = []
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(os, "sync", lambda: called.append(True))

    disk.synchronise(tmp_path)
    assert called


def test_synchronise_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk comes out here at the latest."""

    class Library:
        def syncfs(self, _: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())

    with pytest.raises(OSError, match="Input/output"):
        disk.synchronise(tmp_path)


def test_file_system_held_open(tmp_path: Path) -> None:
    """Its descriptor is open from the beginning, and closed in the end."""

    def count() -> int:
        found = 0
        for link in Path("/proc/self/fd").iterdir():
            # That of the directory itself is closed by now.
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(link) == str(tmp_path)
        return found

    opened = disk.FileSystem(tmp_path)
    opened.synchronise()
    assert count() == 1
    del opened
    assert count() == 0


def test_writeback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new bytes of a file are written from 8 MiB on, each once."""
    begun: list[int] = []
    grown: list[int] = []
    monkeypatch.setattr(
        disk, "begin_writing", lambda file, offset: begun.append(offset)
    )
    with (tmp_path / "file").open("wb") as file:
        written = disk.Writeback(file.fileno(), grown.append)
        for size in (4 << 20, 5 << 20, 7 << 20, 1 << 20):
            written(size)
    assert begun == [0, 9 << 20]
    assert sum(grown) == 17 << 20


@pytest.mark.parametrize("library", [None, object()])
def test_begin_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: object
) -> None:
    """A file stays as it is, also where the C library lacks the function."""
    if library:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"content")
        disk.begin_writing(file.fileno())
        file.write(b" and more")
        disk.begin_writing(file.fileno(), 7)
    assert (tmp_path / "file").read_bytes() == b"content and more"


@pytest.mark.parametrize(("before", "kept"), [(1000, 250), (1 << 40, 1 << 30)])
def test_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, kept: int
) -> None:
    """A quarter of the space that was free is kept free, at most 1 GiB."""
    free = before
    monkeypatch.setattr(disk, "free_space", lambda path: free)
    reserve = disk.Reserve(tmp_path)
    free = kept
    reserve.check()
    free = kept - 1
    with pytest.raises(errors.NoSpace, match=f"only {free} bytes are left"):
        reserve.check()


@pytest.mark.needs_root
def test_no_inodes(tmp_path: Path) -> None:
    """A disk with room and without inodes says what it lacks."""
    disk_path = tmp_path / "disk"
    disk_path.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "nr_inodes=2", "tmpfs", disk_path],
        check=True,
    )
    try:
        (disk_path / "last").touch()
        with pytest.raises(errors.NoSpace, match="no inodes are left"):
            files.write(str(disk_path / "result"), "text")
        with (
            pytest.raises(errors.NoSpace, match="no inodes are left"),
            disk.reported(disk_path),
        ):
            (disk_path / "blob").touch()
    finally:
        subprocess.run(["umount", disk_path], check=True)


@pytest.mark.needs_root
@pytest.mark.parametrize("name", [b"a b\t\xc3\xbc", b"\xff", b"a\x0cb"])
def test_mount_points(tmp_path: Path, name: bytes) -> None:
    """A mount is told with its file system, whatever its name contains."""
    point = tmp_path / os.fsdecode(name)
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", point], check=True)
    try:
        (kind,) = [
            mount.kind for mount in disk.mounts() if mount.point == str(point)
        ]
        assert kind == "tmpfs"
    finally:
        subprocess.run(["umount", point], check=True)
