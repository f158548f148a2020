"""Plans in directories, beyond what every plan does."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
from collections.abc import Callable

import pytest

from imageprep_client import errors
from imageprep_client.host import files
from imageprep_client.plans import base, directory
from imageprep_client.testing import plan_suite

MAIN = base.PLAN_ENVIRONMENT


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """The directory of a plan."""
    home = tmp_path / "plan"
    (home / "environments").mkdir(parents=True)
    for path, text in plan_suite.FILES.items():
        (home / path).write_text(text, encoding="utf-8")
    return home


def _fails(number: int) -> Callable[..., int]:
    def fails(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fails


def test_name_is_the_path_as_given(home: pathlib.Path) -> None:
    """Errors call the plan what the user calls it."""
    assert directory.PlanDirectory(home).name == str(home)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone", "no such file"), (f"plan/{MAIN}", "not a directory")],
)
def test_no_directory(home: pathlib.Path, name: str, reason: str) -> None:
    """The error names the path, the hint what it should have in it."""
    plan = directory.PlanDirectory(home.parent / name)

    with pytest.raises(errors.PlanError, match=reason) as caught:
        plan.read()
    assert MAIN in str(caught.value.hint)


def test_file_through_a_link_inside(home: pathlib.Path) -> None:
    """A link from one file of the plan to another is followed."""
    (home / "environments/site.yaml").unlink()
    (home / "environments/site.yaml").symlink_to("unused.yaml")

    (_, data) = directory.PlanDirectory(home).read().environments[2]
    assert data == {"parameter_defaults": {"Unused": 4}}


def test_link_out_of_the_plan(home: pathlib.Path) -> None:
    """Files elsewhere are not read as if they were of the plan."""
    (home.parent / "secret").write_text("parameter_defaults: {}")
    (home / "user-environment.yaml").unlink()
    (home / "user-environment.yaml").symlink_to("../secret")

    with pytest.raises(errors.PlanError, match=r"user-environment\.yaml: a s"):
        directory.PlanDirectory(home).read()


def test_nothing_is_written_through_a_link(home: pathlib.Path) -> None:
    """A link does not make files elsewhere, and the plan stays."""
    for file in (home / "environments").iterdir():
        file.unlink()
    (home / "environments").rmdir()
    (home.parent / "elsewhere").mkdir()
    (home / "environments").symlink_to("../elsewhere")

    with pytest.raises(errors.PlanError, match="leads out of the plan"):
        directory.PlanDirectory(home).write_parameters({}, [])
    assert not [*(home.parent / "elsewhere").iterdir()]
    assert (home / MAIN).read_text() == plan_suite.FILES[MAIN]


def test_file_where_a_directory_should_be(tmp_path: pathlib.Path) -> None:
    """What cannot be written is found out before."""
    (tmp_path / MAIN).write_text(plan_suite.FILES[MAIN])
    plan = directory.PlanDirectory(tmp_path)
    plan.check_writable()
    (tmp_path / "environments").write_text("")
    with pytest.raises(errors.InvalidFile, match="not a directory"):
        plan.check_writable()


def test_what_has_to_be_writable(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's own file counts only while it has to be changed."""
    checked: list[str] = []
    monkeypatch.setattr(files, "check", checked.append)
    plan = directory.PlanDirectory(home)
    plan.check_writable()
    plan.write_parameters({}, [])
    plan.check_writable()
    mine = [str(home / base.PARAMETERS), str(home / ".image-prepare")]
    assert checked == [*mine, str(home / MAIN), *mine]


def test_links_in_a_circle(home: pathlib.Path) -> None:
    """A circle of links is one clear error."""
    (home / "user-environment.yaml").unlink()
    (home / "user-environment.yaml").symlink_to("user-environment.yaml")

    with pytest.raises(errors.PlanError, match="too many levels"):
        directory.PlanDirectory(home).read()


def test_plan_behind_a_link(home: pathlib.Path) -> None:
    """The directory itself may be a link."""
    link = home.parent / "link"
    link.symlink_to(home)

    directory.PlanDirectory(link).write_parameters({}, [])
    assert (home / base.PARAMETERS).exists()


def test_pipe(home: pathlib.Path) -> None:
    """What is no regular file is not waited for."""
    (home / base.ROLES).unlink()
    os.mkfifo(home / base.ROLES)

    with pytest.raises(errors.PlanError, match="is not a regular file"):
        directory.PlanDirectory(home).read()


def test_listed_directory(home: pathlib.Path) -> None:
    """A directory is no environment."""
    (home / "user-environment.yaml").unlink()
    (home / "user-environment.yaml").mkdir()

    with pytest.raises(errors.PlanError, match=r"user-environment\.yaml: "):
        directory.PlanDirectory(home).read()


def test_file_that_cannot_be_read(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and the reason."""
    real = os.open

    def denied(path: str, *rest: int, **more: int) -> int:
        if str(path).endswith(base.ROLES):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", denied)

    with pytest.raises(
        errors.PlanError, match=r"roles_data\.yaml: cannot be read: permission"
    ):
        directory.PlanDirectory(home).read()


def test_directory_that_cannot_be_made(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what was to be written."""
    (tmp_path / MAIN).write_text("name: small")
    monkeypatch.setattr(pathlib.Path, "mkdir", _fails(errno.EACCES))

    with pytest.raises(
        errors.PlanError, match=f"{base.PARAMETERS}: cannot be written"
    ):
        directory.PlanDirectory(tmp_path).write_parameters({}, [])


def test_directory_that_cannot_be_locked(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without locks is one clear error."""
    monkeypatch.setattr(fcntl, "flock", _fails(errno.ENOLCK))

    with pytest.raises(errors.PlanError, match="no locks available"):
        directory.PlanDirectory(home).read()


def test_missing_environments_directory(tmp_path: pathlib.Path) -> None:
    """A plan without ``environments`` gets it."""
    (tmp_path / MAIN).write_text("name: small")

    directory.PlanDirectory(tmp_path).write_parameters({}, [])
    assert (tmp_path / base.PARAMETERS).exists()


def test_crash_between_the_files(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole parameters are there first; the plan is the old one."""
    before = directory.PlanDirectory(home).read()
    real = files.write

    def crashes(path: str, text: bytes, *, mode: int | None) -> None:
        if path.endswith(MAIN):
            raise KeyboardInterrupt
        real(path, text, mode=mode)

    monkeypatch.setattr(files, "write", crashes)
    with pytest.raises(KeyboardInterrupt):
        directory.PlanDirectory(home).write_parameters({"A": "1"}, [])

    assert directory.PlanDirectory(home).read() == before
    assert "A: '1'" in (home / base.PARAMETERS).read_text()


def test_full_disk(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the parameters cannot be written the plan is as it was."""
    monkeypatch.setattr(os, "fsync", _fails(errno.ENOSPC))

    with pytest.raises(errors.NoSpace):
        directory.PlanDirectory(home).write_parameters({}, [])
    assert not (home / base.PARAMETERS).exists()
    assert (home / MAIN).read_text() == plan_suite.FILES[MAIN]
    assert len([*home.rglob("*.yaml")]) == len(plan_suite.FILES)


def test_mode_of_the_plan_is_kept(home: pathlib.Path) -> None:
    """It has passwords: who could not read it still cannot."""
    (home / MAIN).chmod(0o600)

    directory.PlanDirectory(home).write_parameters({}, [])
    assert (home / MAIN).stat().st_mode & 0o777 == 0o600


def test_new_files_are_as_private(home: pathlib.Path) -> None:
    """Who could not read the parameters cannot read the older ones."""
    plan = directory.PlanDirectory(home)
    plan.write_parameters({"A": "1"}, [])
    (home / base.PARAMETERS).chmod(0o600)
    plan.write_parameters({"A": "2"}, [])

    (kept,) = (home / base.HISTORY).iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_folders_belong_to_the_owner(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sudo a user's plan stays the user's."""
    owned = []
    monkeypatch.setattr(os, "chown", lambda *args: owned.append(args))
    plan = directory.PlanDirectory(home)
    plan.write_parameters({"A": "1"}, [])
    plan.write_parameters({"A": "2"}, [])

    owner = (home.stat().st_uid, home.stat().st_gid)
    history = home / base.HISTORY
    assert owned == [(history.parent, *owner), (history, *owner)]


def test_history_through_a_link(home: pathlib.Path) -> None:
    """Nothing of it is put elsewhere, and the plan stays."""
    plan = directory.PlanDirectory(home)
    plan.write_parameters({"A": "1"}, [])
    (home.parent / "elsewhere").mkdir()
    (home / ".image-prepare").symlink_to("../elsewhere")

    with pytest.raises(errors.PlanError, match="leads out of the plan"):
        plan.write_parameters({"A": "2"}, [])
    assert not [*(home.parent / "elsewhere").iterdir()]
    assert "A: '1'" in (home / base.PARAMETERS).read_text()


def test_file_in_the_place_of_the_history(home: pathlib.Path) -> None:
    """What cannot be kept is found out before."""
    (home / ".image-prepare").touch()

    with pytest.raises(errors.InvalidFile, match="not a directory"):
        directory.PlanDirectory(home).check_writable()


def test_history_that_cannot_be_read(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of the one file; the others are there, and writes go on."""
    plan = directory.PlanDirectory(home)
    for number in "123":
        plan.write_parameters({"A": number}, [])
    real = os.open

    def denied(path: str, *rest: int, **more: int) -> int:
        if str(path).endswith("0002.yaml"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", denied)
    newest, broken, oldest = plan.history()
    assert "0002.yaml: cannot be read: permission denied" in broken.problem
    assert newest.changes is None
    assert oldest.changes
    assert plan.write_parameters({"A": "4"}, []).changed


def test_history_that_cannot_be_listed(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the folder."""
    monkeypatch.setattr(os, "scandir", _fails(errno.EACCES))

    with pytest.raises(errors.PlanError, match=f"{base.HISTORY}: cannot be"):
        directory.PlanDirectory(home).history()


def test_file_that_cannot_be_deleted(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file."""
    monkeypatch.setattr(pathlib.Path, "unlink", _fails(errno.EACCES))

    with pytest.raises(errors.PlanError, match=r"roles_data\.yaml: cannot be"):
        directory.DirectoryFiles(home).delete(base.ROLES)


def test_cache_that_cannot_be_deleted(
    home: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is written is written; the file that may be older is named."""
    cached = home / "__cache__/__cache_overcloud_tripleo.parameters.get"
    cached.parent.mkdir()
    cached.touch()
    monkeypatch.setattr(pathlib.Path, "unlink", _fails(errno.EACCES))

    written = directory.PlanDirectory(home).write_parameters({"A": "1"}, [])
    assert written.changed
    (message,) = caplog.messages
    assert f"{cached.name}: cannot be deleted: permission denied" in message
    assert "delete it" in message


def test_leftovers_of_a_crash(home: pathlib.Path) -> None:
    """A temporary file is no part of the history."""
    plan = directory.PlanDirectory(home)
    plan.write_parameters({"A": "1"}, [])
    plan.write_parameters({"A": "2"}, [])
    (home / base.HISTORY / ".imageprep-12.tmp").touch()

    assert [each.number for each in plan.history()] == [2, 1]


def test_locks(home: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers share the lock, a writer has it alone."""
    seen = []
    monkeypatch.setattr(fcntl, "flock", lambda _, how: seen.append(how))
    plan = directory.PlanDirectory(home)

    plan.read()
    plan.write_parameters({}, [])
    plan.history()
    with pytest.raises(errors.PlanError):
        plan.restore(None, [])
    readers, writers = fcntl.LOCK_SH, fcntl.LOCK_EX
    assert seen == [readers, writers, readers, writers]
