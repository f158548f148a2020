"""Work below an open directory: nobody leads it elsewhere."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import shutil
import socket
import stat
import threading
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import owners
from imageprep_client.host.directory import Directory, temporary_name
from imageprep_client.host.reading import Kind

STRANGER = 4711


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that nothing may touch."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "precious").write_text("precious")
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


def test_round_trip(top: Path) -> None:
    """A file that is replaced is read back, its directories made."""
    directory = Directory(top)
    directory.make_directory("a/b")
    directory.replace("a/b/file", b"content")
    assert directory.read("a/b/file", 100) == b"content"
    assert directory.regular_size("a/b/file") == 7
    assert directory.entries("a") == {"b": Kind.DIRECTORY}


def test_links_on_the_way_are_not_read(top: Path, outside: Path) -> None:
    """Files behind a linked directory do not exist."""
    (top / "link").symlink_to(outside)
    directory = Directory(top)
    assert directory.read("link/precious", 100) is None
    assert directory.status("link/precious") is None
    assert directory.entries("link") == {}


@pytest.mark.parametrize("target", ["outside", "/proc/self/cwd", "nowhere"])
def test_links_on_the_way_are_not_written_through(
    top: Path, outside: Path, target: str
) -> None:
    """No file is made, replaced or removed behind a linked directory."""
    (top / "link").symlink_to(outside.parent / target)
    directory = Directory(top)
    with pytest.raises(errors.AccessDenied, match="top/link: a symbolic link"):
        directory.make_directory("link/below")
    with pytest.raises(OSError, match="top/link"):
        directory.write("link/new", b"")
    directory.unlink("link/precious")
    with pytest.raises(OSError, match="link"):
        directory.remove_tree("link")
    assert os.listdir(outside) == ["precious"]


def test_links_in_place_of_a_file(top: Path, outside: Path) -> None:
    """A link is neither read nor written through: it is replaced."""
    (top / "file").symlink_to(outside / "precious")
    directory = Directory(top)
    assert directory.read("file", 100) is None
    assert directory.regular_size("file") is None
    directory.replace("file", b"mine")
    assert (outside / "precious").read_text() == "precious"
    assert not (top / "file").is_symlink()


@pytest.mark.parametrize(
    "path", ["../outside/precious", "a/../x", ".", "a//b"]
)
def test_paths_that_are_no_names(top: Path, outside: Path, path: str) -> None:
    """No path leads up."""
    directory = Directory(top)
    for method in (directory.read_link, directory.unlink, directory.create):
        with pytest.raises(ValueError, match="no path of names"):
            method(path)


def test_special_files_are_not_read(top: Path) -> None:
    """A FIFO, a socket or a device is no content and blocks nobody."""
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
        directory = Directory(top)
        assert directory.open_regular("fifo") is None
        assert directory.open_regular("socket") is None


def test_refused_reading(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is not taken for absent."""

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    directory = Directory(top)
    directory.write("file", b"")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="top/file"):
        directory.read("file", 4)


def test_parent_replaced_after_hold(top: Path, outside: Path) -> None:
    """Work goes on in the directory that was opened."""
    directory = Directory(top)
    directory.hold()
    moved = top.rename(top.with_name("moved"))
    top.symlink_to(outside)
    directory.make_directory("a")
    directory.write("a/file", b"")
    assert (moved / "a" / "file").exists()
    assert os.listdir(outside) == ["precious"]


def test_directory_replaced_on_the_way(top: Path, outside: Path) -> None:
    """A directory that another run removed is looked up again."""
    directory = Directory(top)
    directory.make_directory("a/b")
    shutil.rmtree(top / "a")
    directory.make_directory("a/b")
    directory.write("a/b/file", b"")
    assert (top / "a" / "b" / "file").exists()


def test_swapped_while_it_is_written(top: Path, outside: Path) -> None:
    """Swapping a directory for a link again and again leads no write
    elsewhere.
    """
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            try:
                (top / "a").rename(top / "gone")
                (top / "a").symlink_to(outside)
                (top / "a").unlink()
                (top / "gone").rename(top / "a")
            except OSError:
                continue

    directory = Directory(top, public=True)
    directory.make_directory("a")
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(2000):
            directory.forget()
            try:
                directory.make_directory("a/b")
                directory.replace(f"a/file{number}", b"")
            except (errors.AccessDenied, OSError):
                continue
    finally:
        done.set()
        swapper.join()
    assert os.listdir(outside) == ["precious"]


def test_modes_of_directories_that_threads_make(top: Path) -> None:
    """A directory is readable by all before another thread than its maker
    puts anything into it, whatever the umask is.
    """
    directory = Directory(top, public=True)
    before = os.umask(0o077)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            paths = [f"{n}/a/{k}" for n in range(80) for k in range(8)]
            list(threads.map(directory.make_directory, paths))
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in top.rglob("*")}
    assert modes == {0o755}


@pytest.mark.needs_root
def test_strangers_directory_is_not_written(top: Path) -> None:
    """A directory on the way that belongs to somebody else is refused."""
    (top / "a" / "b").mkdir(parents=True)
    os.chown(top / "a", STRANGER, STRANGER)
    directory = Directory(top)
    for write in (
        lambda: directory.make_directory("a/b/c"),
        lambda: directory.write("a/b/file", b""),
        lambda: directory.unlink("a/b"),
    ):
        with pytest.raises(
            errors.AccessDenied, match=rf"top/a: belongs to {STRANGER}"
        ):
            write()


@pytest.mark.needs_root
def test_owner_of_the_directory_is_trusted(top: Path) -> None:
    """The owner of the top may own what is below."""
    (top / "a").mkdir()
    for path in (top, top / "a"):
        os.chown(path, STRANGER, STRANGER)
    directory = Directory(top)
    directory.write("a/file", b"")
    assert (top / "a" / "file").exists()


@pytest.mark.parametrize(
    ("public", "umask"), [(True, 0o000), (True, 0o077), (False, 0o000)]
)
def test_modes(top: Path, public: bool, umask: int) -> None:
    """Only the owner may write. With `public`, modes do not depend on the
    umask.
    """
    old = os.umask(umask)
    try:
        directory = Directory(top, public=public)
        directory.make_directory("a/b")
        directory.write("a/b/file", b"")
    finally:
        os.umask(old)
    assert (top / "a").stat().st_mode & 0o777 == 0o755
    assert (top / "a" / "b" / "file").stat().st_mode & 0o777 == 0o644


def test_few_descriptors(top: Path) -> None:
    """However many directories are used, few stay open."""
    directory = Directory(top)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(500):
        directory.make_directory(f"a{number}/b")
    assert len(os.listdir("/proc/self/fd")) - before <= 80
    del directory
    assert len(os.listdir("/proc/self/fd")) <= before


def test_staged_file_is_removed(top: Path) -> None:
    """A temporary file does not outlive its block."""
    directory = Directory(top)
    with directory.staged() as temporary:
        directory.write(temporary, b"")
        assert len(os.listdir(top)) == 1
    assert os.listdir(top) == []


def test_stale_files_are_removed(top: Path) -> None:
    """Only old files of names that are given here are removed."""
    directory = Directory(top)
    with directory.staged() as temporary:
        name = temporary
    (top / name).touch()
    (top / "other.tmp").touch()
    (top / ".imageprep-dir.tmp").mkdir()
    directory.remove_stale("", 0)
    assert (top / name).exists()
    directory.remove_stale("", (top / name).stat().st_mtime + 1)
    assert sorted(os.listdir(top)) == [".imageprep-dir.tmp", "other.tmp"]


def test_stale_file_of_another_user(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that may not be removed stays; the others are removed."""
    names = [temporary_name() for _ in range(3)]
    for name in names:
        (top / name).touch()
    unlink = os.unlink

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == names[1]:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    Directory(top).remove_stale("", (top / names[0]).stat().st_mtime + 1)
    assert os.listdir(top) == [names[1]]


def test_removed_tree_follows_no_links(top: Path, outside: Path) -> None:
    """A link below goes; what it leads to stays."""
    (top / "a").mkdir()
    (top / "a" / "link").symlink_to(outside)
    Directory(top).remove_tree("a")
    assert os.listdir(top) == []
    assert os.listdir(outside) == ["precious"]


def test_private_file_is_made(top: Path) -> None:
    """A lock file is for this user alone, whatever mode it had."""
    (top / ".lock").touch(0o666)
    os.close(Directory(top).open_private(".lock"))
    assert (top / ".lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "directory"])
def test_private_file_is_plain(top: Path, outside: Path, kind: str) -> None:
    """Anything but a regular file with one name is refused at once."""
    lock = top / ".lock"
    if kind == "link":
        lock.symlink_to(outside / "precious")
    elif kind == "hard link":
        lock.hardlink_to(outside / "precious")
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(errors.AccessDenied, match=r"\.lock: not a regular"):
        Directory(top).open_private(".lock")
    assert (outside / "precious").read_text() == "precious"


@pytest.mark.needs_root
def test_private_file_of_a_stranger(top: Path) -> None:
    """A lock file that belongs to somebody else is refused."""
    (top / ".lock").touch()
    os.chown(top / ".lock", STRANGER, STRANGER)
    with pytest.raises(errors.AccessDenied, match="belongs to"):
        Directory(top).open_private(".lock")


@pytest.mark.needs_root
def test_links_of_strangers_on_the_way_to_it(
    tmp_path: Path, top: Path
) -> None:
    """A directory is not opened through a link of somebody else."""
    link = tmp_path / "link"
    link.symlink_to(top)
    Directory(link).hold()
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(errors.AccessDenied, match=f"belongs to {STRANGER}"):
        Directory(link).hold()
    (tmp_path / "mine").symlink_to("link/../link")
    with pytest.raises(errors.AccessDenied, match="the symbolic link link"):
        Directory(tmp_path / "mine").hold()


def test_circles(tmp_path: Path) -> None:
    """Links that lead in circles end with the system's error."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many"):
        owners.open_directory(tmp_path / "one")


def test_what_is_no_directory(tmp_path: Path) -> None:
    """A file, or nothing, is told by its path."""
    (tmp_path / "file").touch()
    for name in ("file", "nothing", "nothing/below", "file/below"):
        with pytest.raises(OSError, match=name):
            owners.open_directory(tmp_path / name)


def test_parent_of_a_file(tmp_path: Path) -> None:
    """The place of a file is that behind the links of this user."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    with owners.opened_parent(tmp_path / "link") as (descriptor, name):
        assert name == "file"
        assert os.path.samestat(
            os.fstat(descriptor), (tmp_path / "real").stat()
        )
    with (
        pytest.raises(IsADirectoryError),
        owners.opened_parent(tmp_path / "real"),
    ):
        pass


def test_hard_link(top: Path) -> None:
    """A file gets another name, also one that another file had; a missing
    file is told as such.
    """
    directory = Directory(top)
    directory.write("file", b"content")
    assert directory.link("file", "other", staging="")
    assert (top / "other").samefile(top / "file")
    directory.write("broken", b"cont")
    assert directory.link("file", "broken", staging="")
    assert (top / "broken").samefile(top / "file")
    assert len(list(top.iterdir())) == 3
    assert not directory.link("missing", "another", staging="")


@pytest.mark.needs_root
def test_give_only_own(top: Path) -> None:
    """Ownership is passed on by descriptor, and of own files only."""
    directory = Directory(top)
    directory.write("file", b"")
    directory.give("file", STRANGER, STRANGER)
    assert (top / "file").stat().st_uid == STRANGER
    directory.give("file", STRANGER + 1, STRANGER)
    assert (top / "file").stat().st_uid == STRANGER


def test_empty_directories_only(top: Path) -> None:
    """A directory with anything in it stays."""
    directory = Directory(top)
    directory.make_directory("a/b")
    assert not directory.remove_empty("a")
    assert directory.remove_empty("a/b")
    assert directory.remove_empty("a/b")
