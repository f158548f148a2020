"""Results where other users may write: nothing passes through their hands."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import files

STRANGER = 4711


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A sticky directory that everybody may write to, as /tmp is."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of this user that nobody else may change."""
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The umask of a careless service."""
    old = os.umask(0)
    yield
    os.umask(old)


def _append(path: str) -> None:
    with files.append(path) as stream:
        stream.write("line\n")


ACTIONS: list[Callable[[str], None]] = [
    lambda path: files.write(path, "new"),
    lambda path: files.write(path, "new", mode=0o600),
    lambda path: files.write(path, "new", backup=True),
    files.check,
    _append,
]


def _link(path: Path, target: Path | str) -> None:
    path.symlink_to(target)
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("target", ["victim", "missing"])
@pytest.mark.needs_root
def test_links_of_strangers(
    shared: Path, victim: Path, action: Callable[[str], None], target: str
) -> None:
    """A stranger's link in the place of a result is not followed."""
    _link(shared / "out", victim.parent / target)
    with pytest.raises(errors.InvalidFile, match=f"belongs to {STRANGER}"):
        action(str(shared / "out"))
    assert victim.read_text() == "precious"
    assert not (victim.parent / "missing").exists()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.needs_root
def test_linked_directories_of_strangers(
    shared: Path, victim: Path, action: Callable[[str], None]
) -> None:
    """Neither is one on the way to it, nor one behind a link of this user."""
    _link(shared / "dir", victim.parent)
    (shared.parent / "mine").symlink_to(shared / "dir")
    for path in (shared / "dir", shared.parent / "mine"):
        with pytest.raises(errors.InvalidFile, match=f"belongs to {STRANGER}"):
            action(str(path / "victim"))
    assert victim.read_text() == "precious"


def test_links_of_this_user_are_followed(shared: Path, victim: Path) -> None:
    """A user's own link leads where it says."""
    (shared / "out").symlink_to(victim)
    files.write(str(shared / "out"), "new")
    _append(str(shared / "out"))
    assert victim.read_text() == "newline\n"


@pytest.mark.needs_root
@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (None, 0o644)])
def test_results_in_the_place_of_a_strangers_file(
    shared: Path, mode: int | None, expected: int
) -> None:
    """A stranger cannot keep a file that was put there to be filled."""
    path = shared / "out"
    path.touch(0o666)
    os.chown(path, STRANGER, STRANGER)
    files.write(str(path), "new", mode=mode)
    assert path.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(path.stat().st_mode) == expected


@pytest.mark.needs_root
def test_users_file_stays_the_users(tmp_path: Path) -> None:
    """With sudo, a result in a user's directory stays that user's."""
    home = tmp_path / "home"
    home.mkdir()
    path = home / "out"
    path.touch(0o640)
    for each in (home, path):
        os.chown(each, STRANGER, STRANGER)
    files.write(str(path), "new")
    assert path.stat().st_uid == STRANGER
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_new_files_without_a_umask(shared: Path) -> None:
    """No file is made that others may write to."""
    files.write(str(shared / "out"), "new")
    _append(str(shared / "log"))
    for name in ("out", "log"):
        assert stat.S_IMODE((shared / name).stat().st_mode) == 0o644


@pytest.mark.needs_root
def test_backup_is_no_way_out(shared: Path, victim: Path) -> None:
    """A stranger's link in the place of the backup is replaced."""
    (shared / "out").write_text("old")
    _link(shared / "out.backup", victim)
    files.write(str(shared / "out"), "new", backup=True)
    assert (shared / "out.backup").read_text() == "old"
    assert not (shared / "out.backup").is_symlink()
    assert victim.read_text() == "precious"


def test_log_into_other_files(shared: Path, victim: Path) -> None:
    """A log is not appended to what else a file's other names stand for."""
    os.link(victim, shared / "log")
    with pytest.raises(errors.InvalidFile, match="other names"):
        files.append(str(shared / "log"))


@pytest.mark.needs_root
def test_log_of_a_stranger(shared: Path) -> None:
    """A log is not appended to a file that a stranger put there."""
    (shared / "log").touch()
    os.chown(shared / "log", STRANGER, STRANGER)
    with pytest.raises(errors.InvalidFile, match=f"belongs to {STRANGER}"):
        files.append(str(shared / "log"))


@pytest.mark.parametrize("read", [False, True])
def test_log_into_a_fifo(shared: Path, read: bool) -> None:
    """A FIFO blocks nobody, with a reader or without."""
    os.mkfifo(shared / "log")
    reader = None
    if read:
        reader = os.open(shared / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(errors.InvalidFile, match="not a regular file"):
            files.append(str(shared / "log"))
    finally:
        if reader is not None:
            os.close(reader)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stderr"])
def test_log_to_devices_and_streams(path: str) -> None:
    """Devices and streams that the user names may have the log."""
    _append(path)


def test_zero_bytes() -> None:
    """A text that cannot be a name is reported as such."""
    for action in ACTIONS:
        with pytest.raises(errors.InvalidFile, match="no file name"):
            action("a\0b")
