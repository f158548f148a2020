"""Files that are replaced whole, or not at all."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.host import files
from tests.failing import fails


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The usual umask, whatever that of the caller is."""
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file that is there already."""
    path = tmp_path / "file"
    path.write_text("old")
    return path


def _mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _only(path: pathlib.Path, text: str) -> None:
    """The file has this text and nothing else is in its directory."""
    assert path.read_text() == text
    assert [*path.parent.iterdir()] == [path]


def test_new_file(tmp_path: pathlib.Path) -> None:
    """A new file has the text, in UTF-8, and the mode of the umask."""
    path = tmp_path / "file"

    files.write(str(path), "text ä\n")

    assert path.read_bytes() == "text ä\n".encode()
    assert _mode(path) == 0o644


def test_relative_path(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name is a file in the current directory."""
    monkeypatch.chdir(tmp_path)

    files.write("file", "text")

    _only(tmp_path / "file", "text")


def test_mode_of_the_old_file_is_kept(path: pathlib.Path) -> None:
    """The new file can be read by those who could read the old one."""
    path.chmod(0o640)

    files.write(str(path), "new")

    _only(path, "new")
    assert _mode(path) == 0o640


def test_mode_that_is_asked_for(path: pathlib.Path) -> None:
    """A mode that is given goes over that of the old file."""
    files.write(str(path), "new", mode=0o600)

    assert _mode(path) == 0o600


def test_secrets_are_never_readable(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file is private from its first moment."""
    modes = []
    fchmod = os.fchmod

    def spy(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", spy)
    files.write(str(tmp_path / "file"), "secret", mode=0o644)

    assert modes == [0o600]


@pytest.fixture
def of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files belong to another user."""
    stat_of = os.fstat

    def other(descriptor: int) -> os.stat_result:
        values = list(stat_of(descriptor))
        values[stat.ST_UID] += 1
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", other)


@pytest.mark.usefixtures("of_another")
def test_owner_of_the_old_file_is_kept(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root gives the new file to the owner of the old one."""
    given: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "fchown", lambda _, *ids: given.append(ids))
    files.write(str(path), "new")

    old = path.stat()
    assert given == [(old.st_uid, old.st_gid)]


@pytest.mark.usefixtures("of_another")
def test_owner_that_may_not_be_kept(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may not give files away writes an own file."""
    monkeypatch.setattr(os, "fchown", fails(errno.EPERM))
    files.write(str(path), "new")

    _only(path, "new")


def test_backup(path: pathlib.Path) -> None:
    """The backup is the old file itself."""
    old = path.stat().st_ino

    files.write(str(path), "new", backup=True)

    backup = path.with_name("file.backup")
    assert (path.read_text(), backup.read_text()) == ("new", "old")
    assert backup.stat().st_ino == old


def test_backup_replaces_an_older_one(path: pathlib.Path) -> None:
    """Of three texts the last two are there."""
    files.write(str(path), "newer", backup=True)
    files.write(str(path), "newest", backup=True)

    assert path.with_name("file.backup").read_text() == "newer"
    assert len([*path.parent.iterdir()]) == 2


def test_no_backup_of_nothing(tmp_path: pathlib.Path) -> None:
    """A new file has no backup."""
    files.write(str(tmp_path / "file"), "new", backup=True)

    _only(tmp_path / "file", "new")


def test_backup_that_is_the_file(path: pathlib.Path) -> None:
    """After a crash the backup may be a link to the file."""
    os.link(path, path.with_name("file.backup"))

    files.write(str(path), "new", backup=True)

    assert path.with_name("file.backup").read_text() == "old"
    assert len([*path.parent.iterdir()]) == 2


def test_backup_without_links(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files cannot be linked the old one is copied."""
    path.chmod(0o640)
    monkeypatch.setattr(os, "link", fails(errno.EPERM))

    files.write(str(path), "new", backup=True)

    backup = path.with_name("file.backup")
    assert backup.read_text() == "old"
    assert _mode(backup) == 0o640


def test_backup_that_is_a_directory(path: pathlib.Path) -> None:
    """Nothing changes when the backup cannot be written."""
    backup = path.with_name("file.backup")
    backup.mkdir()

    with pytest.raises(errors.InvalidFile, match=r"file\.backup: is a dir"):
        files.write(str(path), "new", backup=True)
    assert path.read_text() == "old"
    assert len([*path.parent.iterdir()]) == 2


def test_backup_that_fails(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another failure to link stops before anything is replaced."""
    monkeypatch.setattr(os, "link", fails(errno.ENOSPC))

    with pytest.raises(errors.NoSpace):
        files.write(str(path), "new", backup=True)
    _only(path, "old")


def test_file_is_never_absent(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each rename the file is there."""
    seen = []
    rename = os.rename

    def spy(old: str, new: str, **descriptors: int) -> None:
        seen.append(path.read_text())
        rename(old, new, **descriptors)
        seen.append(path.read_text())

    monkeypatch.setattr(os, "rename", spy)
    files.write(str(path), "new", backup=True)

    assert seen == ["old", "old", "old", "new"]


def test_symbolic_link(path: pathlib.Path) -> None:
    """The target of a link is replaced; the link stays."""
    (path.parent / "elsewhere").mkdir()
    link = path.parent / "elsewhere" / "link"
    link.symlink_to(path)

    files.write(str(link), "new", backup=True)

    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.with_name("file.backup").read_text() == "old"


def test_dangling_link(tmp_path: pathlib.Path) -> None:
    """A link that points nowhere points to the new file."""
    (tmp_path / "link").symlink_to("file")

    files.write(str(tmp_path / "link"), "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_directory(tmp_path: pathlib.Path) -> None:
    """A directory is not replaced."""
    with pytest.raises(errors.InvalidFile, match="is a directory"):
        files.write(str(tmp_path), "new")


def test_device(tmp_path: pathlib.Path) -> None:
    """Only regular files are replaced, no pipes and no devices."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(errors.InvalidFile, match="not a regular file"):
        files.write(str(tmp_path / "pipe"), "new")


def test_missing_directory(tmp_path: pathlib.Path) -> None:
    """No directory is made; the error names the one that is missing."""
    with pytest.raises(errors.InvalidFile, match=r"no such directory: .*/a"):
        files.write(str(tmp_path / "a" / "file"), "new")
    assert not [*tmp_path.iterdir()]


def test_file_as_a_directory(path: pathlib.Path) -> None:
    """A file on the way to the file is an error that says so."""
    with pytest.raises(errors.InvalidFile, match="not a directory"):
        files.write(str(path / "below"), "new")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, errors.NoSpace),
        (errno.EDQUOT, errors.NoSpace),
        (errno.EIO, errors.InvalidFile),
        (errno.EACCES, errors.InvalidFile),
    ],
)
def test_failure_leaves_the_old_file(
    path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[errors.ImagePrepError],
) -> None:
    """When writing fails there is the old file and nothing else."""
    monkeypatch.setattr(os, "fsync", fails(number))

    with pytest.raises(expected) as caught:
        files.write(str(path), "new", backup=True)

    _only(path, "old")
    assert os.strerror(number).lower() in str(caught.value)


def test_no_permission(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says which directory has to be writable."""
    monkeypatch.setattr(os, "open", fails(errno.EACCES))

    with pytest.raises(errors.InvalidFile) as caught:
        files.write(str(path), "new")
    assert str(path.parent) in str(caught.value.hint)


def test_directory_that_cannot_be_synced(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in place: that is no failure."""
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    files.write(str(path), "new")

    _only(path, "new")


@pytest.mark.parametrize("name", ["file", "new"])
def test_check_of_what_can_be_written(path: pathlib.Path, name: str) -> None:
    """A file that can be replaced or made passes, and is not touched."""
    files.check(str(path.with_name(name)))

    assert [*path.parent.iterdir()] == [path]
    _only(path, "old")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no/file", "no such directory"),
        ("file/file", "not a directory"),
        (".", "is a directory"),
    ],
)
def test_check_of_what_cannot_be_written(
    path: pathlib.Path, name: str, problem: str
) -> None:
    """The error that `write` would raise is known before."""
    with pytest.raises(errors.InvalidFile, match=problem):
        files.check(str(path.parent / name))


def test_check_without_rights(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that may not be written to is named in the hint."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(errors.InvalidFile, match="permission") as caught:
        files.check(str(path))
    assert str(path.parent) in str(caught.value.hint)


@pytest.mark.parametrize("link", [False, True])
def test_open_file_is_not_replaced(path: pathlib.Path, link: bool) -> None:
    """A file that is open elsewhere, as /dev/stdout is, is not replaced."""
    with path.open("a") as stream:
        name = f"/dev/fd/{stream.fileno()}"
        if link:
            path.with_name("link").symlink_to(name)
            name = str(path.with_name("link"))
        for action in (files.check, lambda name: files.write(name, "new")):
            with pytest.raises(errors.InvalidFile, match="not a regular"):
                action(name)
    assert path.read_text() == "old"


def test_links_in_a_circle(path: pathlib.Path) -> None:
    """They end as what they are to the system."""
    (path.parent / "a").symlink_to("b")
    (path.parent / "b").symlink_to("a")
    with pytest.raises(errors.InvalidFile, match="too many levels"):
        files.write(str(path.parent / "a"), "new")
