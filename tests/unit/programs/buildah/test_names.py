"""Temporary directories: private, and gone afterwards."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.programs import buildah
from tests.local_storage import name_of_killed_run


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR of the test."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def test_it_is_private_and_goes(above: Path) -> None:
    """Nobody else can read it, and nothing of it stays."""
    with buildah.temporary() as path:
        assert path.parent == above
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "file").touch()
    assert not os.listdir(above)


def test_it_goes_when_it_is_used_badly(above: Path) -> None:
    """An error in between does not keep it."""
    with pytest.raises(KeyboardInterrupt), buildah.temporary():
        raise KeyboardInterrupt
    assert not os.listdir(above)


def test_what_killed_runs_left_goes(above: Path) -> None:
    """Directories of processes that are no more are removed, others not."""
    (above / name_of_killed_run()).mkdir()
    (above / "other").mkdir()
    with buildah.temporary():
        pass
    assert os.listdir(above) == ["other"]


@pytest.mark.parametrize(
    "name",
    [
        "imageprep-20261121-base",
        "imageprep-2026-mywork",
        "imageprep-20261121-backup",
        "imageprep-1-0-abc",
        "imageprep-1-0-0123abcd",
        "NAME-x",
        "x-NAME",
    ],
)
def test_names_of_users_stay(above: Path, name: str) -> None:
    """A directory with a similar name is not removed."""
    name = name.replace("NAME", name_of_killed_run())
    assert not buildah.is_abandoned(name)
    (above / name).mkdir()
    with buildah.temporary():
        pass
    assert os.listdir(above) == [name]


def test_own_names_are_known() -> None:
    """Only the name of a process that is gone is abandoned."""
    name = buildah.own_name()
    assert buildah.is_own(name)
    assert not buildah.is_abandoned(name)
    assert buildah.is_abandoned(name_of_killed_run())


@pytest.fixture
def foreign(above: Path) -> Path:
    """A directory of a process in another PID namespace."""
    prefix, _, rest = name_of_killed_run().split("-", 2)
    path = above / f"{prefix}-01234567-{rest}"
    path.mkdir()
    return path


def test_young_directories_of_other_namespaces_stay(foreign: Path) -> None:
    """Nothing is known about processes of another PID namespace or host."""
    with buildah.temporary():
        pass
    assert foreign.exists()


def test_old_directories_of_other_namespaces_go(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of a container that is gone is removed after a day."""
    later = time.time() + 25 * 3600
    monkeypatch.setattr("time.time", lambda: later)
    with buildah.temporary():
        pass
    assert not foreign.exists()


def test_locked_directories_of_other_namespaces_stay(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a living process counts in every PID namespace."""
    later = time.time() + 25 * 3600
    monkeypatch.setattr("time.time", lambda: later)
    descriptor = os.open(foreign, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with buildah.temporary():
            pass
    finally:
        os.close(descriptor)
    assert foreign.exists()


def test_directories_in_use_are_locked(above: Path) -> None:
    """A temporary directory is locked as long as its context."""
    with buildah.temporary() as path:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


def test_directories_of_others_stay(above: Path) -> None:
    """In a directory for everybody only the user's own are removed."""
    left = above / name_of_killed_run()
    left.mkdir()
    os.chown(left, 4321, -1)
    with buildah.temporary():
        pass
    assert left.exists()


def test_relative_place(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR may be relative; programs that work elsewhere find it."""
    monkeypatch.chdir(above.parent)
    monkeypatch.setenv("TMPDIR", above.name)
    with buildah.temporary() as path:
        assert path.parent == above


def test_no_place_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TMPDIR that is none is named, with the remedy."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with (
        pytest.raises(errors.LocalStorageError, match="gone") as raised,
        buildah.temporary(),
    ):
        pass
    assert "TMPDIR" in str(raised.value.hint)
