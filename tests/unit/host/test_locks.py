"""Locks: taken, waited for within a bound, looked up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.host import locks
from imageprep_client.host.descriptors import opened
from tests import machines


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A directory opened twice."""
    opened = tuple(os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    yield opened[0], opened[1]
    for descriptor in opened:
        os.close(descriptor)


@contextlib.contextmanager
def mounted(point: Path) -> Iterator[int]:
    """The first directory of a new file system, open."""
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", point], check=True)
    try:
        with opened(point, os.O_DIRECTORY) as descriptor:
            yield descriptor
    finally:
        subprocess.run(["umount", point], check=True)


def test_excludes(descriptors: tuple[int, int]) -> None:
    """A lock that another has is waited for until the time is over."""
    one, two = descriptors
    told: list[bool] = []
    start = time.monotonic()
    with (
        locks.locked(one),
        pytest.raises(BlockingIOError),
        locks.locked(two, timeout=0.2, waiting=lambda: told.append(True)),
    ):
        raise AssertionError("both have it")
    assert time.monotonic() - start >= 0.2
    assert told == [True]
    with locks.locked(two, timeout=0):
        pass


def test_shared(descriptors: tuple[int, int]) -> None:
    """Readers do not exclude each other."""
    one, two = descriptors
    with (
        locks.locked(one, shared=True),
        locks.locked(two, shared=True, timeout=0),
    ):
        pass


def test_owner(descriptors: tuple[int, int]) -> None:
    """The process that has a lock is known, and that nobody has it."""
    one, _ = descriptors
    assert locks.owner(one) is None
    with locks.locked(one):
        assert locks.owner(one) == os.getpid()


@pytest.mark.needs_root
def test_owner_elsewhere(tmp_path: Path) -> None:
    """A lock of a file of another file system is not taken for this one's.

    The first directories of two file systems of this type have one number.
    """
    with (
        mounted(tmp_path / "a") as one,
        mounted(tmp_path / "b") as two,
        locks.locked(one),
    ):
        assert os.fstat(one).st_ino == os.fstat(two).st_ino
        assert locks.owner(one) == os.getpid()
        assert locks.owner(two) is None


@pytest.mark.needs_root
def test_owner_on_btrfs(tmp_path: Path) -> None:
    """The owner is known on btrfs, whose files have devices of their own."""
    with (
        machines.btrfs(tmp_path) as pool,
        opened(pool, os.O_DIRECTORY) as descriptor,
        locks.locked(descriptor),
    ):
        assert locks.owner(descriptor) == os.getpid()


def test_reminder(
    descriptors: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that goes on waiting is told again and again."""
    monkeypatch.setattr(locks, "REMINDER", 0.1)
    one, two = descriptors
    told: list[bool] = []

    def waiting() -> None:
        told.append(True)
        if len(told) == 3:
            raise ZeroDivisionError

    with (
        locks.locked(one),
        pytest.raises(ZeroDivisionError),
        locks.locked(two, timeout=60, waiting=waiting),
    ):
        raise AssertionError("both have it")


def test_is_locked(descriptors: tuple[int, int]) -> None:
    """A lock is seen, and is not left behind by looking."""
    one, two = descriptors
    assert not locks.is_locked(two)
    with locks.locked(one):
        assert locks.is_locked(two)
    with locks.locked(one, timeout=0):
        pass
