"""Plans in directories, beyond what every plan does."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import pathlib
import posixpath
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.host import descriptors, locks
from imageprep_client.host.directory import Directory
from imageprep_client.plans import base, directory
from imageprep_client.plans.stored import Plan
from imageprep_client.testing.plans import suite as plan_suite
from tests.failing import fails

MAIN = base.PLAN_ENVIRONMENT
#: A user who is neither this one nor root.
USER = 65534


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """The directory of a plan."""
    home = tmp_path / "plan"
    (home / "environments").mkdir(parents=True)
    for path, text in plan_suite.FILES.items():
        (home / path).write_text(text, encoding="utf-8")
    return home


def plan_in(path: str | os.PathLike[str]) -> Plan:
    return Plan(directory.DirectoryFiles(path))


def test_name_is_the_path_as_given(home: pathlib.Path) -> None:
    """Errors call the plan what the user calls it."""
    assert plan_in(home).name == str(home)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "no such file"),
        (f"plan/{MAIN}", "not a directory"),
        ("pipe", "not a directory"),
    ],
)
def test_no_directory(home: pathlib.Path, name: str, reason: str) -> None:
    """The error names the path, the hint what it should have in it."""
    os.mkfifo(home.parent / "pipe")
    plan = plan_in(home.parent / name)

    with pytest.raises(errors.PlanError, match=reason) as caught:
        plan.read()
    assert MAIN in str(caught.value.hint)


@pytest.mark.parametrize("is_absolute", [False, True])
def test_link_inside(home: pathlib.Path, is_absolute: bool) -> None:
    """A link from one file of the plan to another is followed."""
    folder = home / "environments"
    (folder / "site.yaml").unlink()
    above = folder if is_absolute else pathlib.Path()
    (folder / "site.yaml").symlink_to(above / "unused.yaml")

    (_, data) = plan_in(home).read().environments[2]
    assert data == {"parameter_defaults": {"Unused": 4}}


def test_nothing_is_written_through_a_link(home: pathlib.Path) -> None:
    """A link does not make files elsewhere, and the plan stays."""
    for file in (home / "environments").iterdir():
        file.unlink()
    (home / "environments").rmdir()
    (home.parent / "elsewhere").mkdir()
    (home / "environments").symlink_to("../elsewhere")

    with pytest.raises(errors.PlanError, match="leads out of the plan"):
        plan_in(home).write_parameters({}, [])
    assert not [*(home.parent / "elsewhere").iterdir()]
    assert (home / MAIN).read_text() == plan_suite.FILES[MAIN]


def test_file_where_a_directory_should_be(tmp_path: pathlib.Path) -> None:
    """A plan that cannot be written is found out before."""
    (tmp_path / MAIN).write_text(plan_suite.FILES[MAIN])
    plan = plan_in(tmp_path)
    plan.check_writable()
    (tmp_path / "environments").write_text("")
    with pytest.raises(errors.PlanError, match="not a directory"):
        plan.check_writable()


def test_what_has_to_be_writable(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's own file counts only while it has to be changed."""
    checked: list[str] = []
    real = Directory.write

    def write(self: Directory, path: str, *rest: Any) -> None:
        checked.append(posixpath.dirname(path))
        real(self, path, *rest)

    monkeypatch.setattr(Directory, "write", write)
    plan = plan_in(home)
    plan.check_writable()
    plan.write_parameters({}, [])
    plan.check_writable()
    # The folder of the history is not there yet.
    assert checked == ["environments", "", "", "environments", ""]


def test_check_leaves_nothing(home: pathlib.Path) -> None:
    """The check writes an empty file and removes it."""
    before = sorted(home.rglob("*"))
    plan_in(home).check_writable()
    assert sorted(home.rglob("*")) == before


def test_directory_that_cannot_be_written(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is found out before anything is done."""
    monkeypatch.setattr(Directory, "create", fails(errno.ENOSPC))
    with pytest.raises(errors.NoSpace, match="cannot be written: no space"):
        plan_in(home).check_writable()


def test_links_in_a_circle(home: pathlib.Path) -> None:
    """A circle of links is one clear error."""
    (home / "user-environment.yaml").unlink()
    (home / "user-environment.yaml").symlink_to("user-environment.yaml")

    with pytest.raises(errors.PlanError, match="too many levels"):
        plan_in(home).read()


def test_plan_behind_a_link(home: pathlib.Path) -> None:
    """The directory itself may be a link."""
    link = home.parent / "link"
    link.symlink_to(home)

    plan_in(link).write_parameters({}, [])
    assert (home / base.PARAMETERS).exists()


def test_pipe(home: pathlib.Path) -> None:
    """A pipe in a plan is not waited for."""
    (home / base.ROLES).unlink()
    os.mkfifo(home / base.ROLES)

    with pytest.raises(errors.PlanError, match="is not a regular file"):
        plan_in(home).read()


def test_listed_directory(home: pathlib.Path) -> None:
    """A directory is no environment."""
    (home / "user-environment.yaml").unlink()
    (home / "user-environment.yaml").mkdir()

    with pytest.raises(errors.PlanError, match=r"user-environment\.yaml: "):
        plan_in(home).read()


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
        plan_in(home).read()


def test_directory_that_cannot_be_made(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what was to be written."""
    (tmp_path / MAIN).write_text("name: small")
    monkeypatch.setattr(os, "mkdir", fails(errno.EACCES))

    with pytest.raises(
        errors.PlanError, match=f"{base.PARAMETERS}: cannot be written"
    ):
        plan_in(tmp_path).write_parameters({}, [])


def test_directory_that_cannot_be_locked(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without locks is one clear error."""
    monkeypatch.setattr(fcntl, "flock", fails(errno.ENOLCK))

    with pytest.raises(errors.PlanError, match="no locks available"):
        plan_in(home).read()


def test_missing_environments_directory(tmp_path: pathlib.Path) -> None:
    """A plan without ``environments`` gets it."""
    (tmp_path / MAIN).write_text("name: small")

    plan_in(tmp_path).write_parameters({}, [])
    assert (tmp_path / base.PARAMETERS).exists()


def test_crash_between_the_files(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole parameters are there first; the plan is the old one."""
    before = plan_in(home).read()
    real = Directory.rename

    def crashes(self: Directory, path: str, new: str) -> None:
        if new.endswith(MAIN):
            raise KeyboardInterrupt
        real(self, path, new)

    monkeypatch.setattr(Directory, "rename", crashes)
    with pytest.raises(KeyboardInterrupt):
        plan_in(home).write_parameters({"A": "1"}, [])

    assert plan_in(home).read() == before
    assert "A: '1'" in (home / base.PARAMETERS).read_text()


def test_full_disk(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the parameters cannot be written the plan is as it was."""
    monkeypatch.setattr(os, "fsync", fails(errno.ENOSPC))

    with pytest.raises(errors.NoSpace):
        plan_in(home).write_parameters({}, [])
    assert not (home / base.PARAMETERS).exists()
    assert (home / MAIN).read_text() == plan_suite.FILES[MAIN]
    assert len([*home.rglob("*.yaml")]) == len(plan_suite.FILES)


def test_mode_of_the_plan_is_kept(home: pathlib.Path) -> None:
    """It has passwords: who could not read it still cannot."""
    (home / MAIN).chmod(0o600)

    plan_in(home).write_parameters({}, [])
    assert (home / MAIN).stat().st_mode & 0o777 == 0o600


def test_new_files_are_as_private(home: pathlib.Path) -> None:
    """Older parameters are not readable for more users than the new ones."""
    plan = plan_in(home)
    plan.write_parameters({"A": "1"}, [])
    (home / base.PARAMETERS).chmod(0o600)
    plan.write_parameters({"A": "2"}, [])

    (kept,) = (home / base.HISTORY).iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_umask_of_zero(
    home: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    """Others never get to write to a plan that names passwords."""
    request.addfinalizer(functools.partial(os.umask, os.umask(0)))

    plan = plan_in(home)
    plan.write_parameters({"A": "1"}, [])
    plan.write_parameters({"A": "2"}, [])
    written = [home / base.PARAMETERS, home / base.HISTORY]
    written += (home / base.HISTORY).iterdir()
    assert not [path for path in written if path.stat().st_mode & 0o022]


def test_files_belong_to_the_owner(home: pathlib.Path) -> None:
    """With sudo a user's plan stays the user's."""
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    plan = plan_in(home)
    plan.write_parameters({"A": "1"}, [])
    plan.write_parameters({"A": "2"}, [])

    for path in home.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER, USER), path


def test_history_through_a_link(home: pathlib.Path) -> None:
    """Nothing of it is put elsewhere, and the plan stays."""
    plan = plan_in(home)
    plan.write_parameters({"A": "1"}, [])
    (home.parent / "elsewhere").mkdir()
    (home / ".image-prepare").symlink_to("../elsewhere")

    with pytest.raises(errors.PlanError, match="leads out of the plan"):
        plan.write_parameters({"A": "2"}, [])
    assert not [*(home.parent / "elsewhere").iterdir()]
    assert "A: '1'" in (home / base.PARAMETERS).read_text()


def test_file_in_the_place_of_the_history(home: pathlib.Path) -> None:
    """A history that cannot be written is found out before."""
    (home / ".image-prepare").touch()

    with pytest.raises(errors.PlanError, match="not a directory"):
        plan_in(home).check_writable()


def test_history_that_cannot_be_read(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of the one file; the others are there, and writes go on."""
    plan = plan_in(home)
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
    (home / base.HISTORY).mkdir(parents=True)
    monkeypatch.setattr(os, "scandir", fails(errno.EACCES))

    with pytest.raises(errors.PlanError, match=f"{base.HISTORY}: cannot be"):
        plan_in(home).history()


def test_file_that_cannot_be_deleted(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file."""
    monkeypatch.setattr(os, "unlink", fails(errno.EACCES))

    with pytest.raises(errors.PlanError, match=r"roles_data\.yaml: cannot be"):
        directory.DirectoryFiles(home).delete(base.ROLES)


def test_cache_that_cannot_be_deleted(
    home: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The parameters are written; a file that may be older is named."""
    cached = home / "__cache__/__cache_overcloud_tripleo.parameters.get"
    cached.parent.mkdir()
    cached.touch()
    real = os.unlink

    def denied(name: str, *, dir_fd: int) -> None:
        if name == cached.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", denied)

    assert plan_in(home).write_parameters({"A": "1"}, []).changed
    (message,) = caplog.messages
    assert f"{cached.name}: cannot be deleted: permission denied" in message
    assert "delete it" in message


def test_leftovers_of_a_crash(home: pathlib.Path) -> None:
    """A temporary file is no part of the history."""
    plan = plan_in(home)
    plan.write_parameters({"A": "1"}, [])
    plan.write_parameters({"A": "2"}, [])
    (home / base.HISTORY / ".imageprep-12.tmp").touch()

    assert [each.number for each in plan.history()] == [2, 1]


def test_locks(home: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers share the lock, a writer has it alone."""
    seen = []

    @contextlib.contextmanager
    def locked(
        descriptor: int, *, shared: bool, **more: object
    ) -> Iterator[None]:
        seen.append("shared" if shared else "alone")
        yield

    monkeypatch.setattr(locks, "locked", locked)
    plan = plan_in(home)

    plan.read()
    plan.write_parameters({}, [])
    plan.history()
    with pytest.raises(errors.PlanError):
        plan.restore(None, [])
    assert seen == ["shared", "alone", "shared", "alone"]


def test_lock_of_another_process(home: pathlib.Path) -> None:
    """The wait for a lock ends, and the process that has it is named."""
    holder = subprocess.Popen(
        ["flock", str(home), "cat"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        with descriptors.opened(home, os.O_DIRECTORY) as descriptor:
            while locks.owner(descriptor) is None:
                time.sleep(0.01)
        plan = Plan(directory.DirectoryFiles(home, patience=0.2))
        user = pwd.getpwuid(os.getuid()).pw_name
        with pytest.raises(
            errors.PlanError,
            match=rf"process \d+ \(flock of user {user}\) has had it locked",
        ):
            plan.read()
    finally:
        os.killpg(holder.pid, signal.SIGTERM)
        holder.wait()


# --- others who rename and plant while it is at work


def test_folder_that_is_swapped(
    home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that became a link since it was made leads nowhere."""
    victim = home.parent / "victim"
    victim.mkdir(mode=0o700)
    shutil.rmtree(home / "environments")
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    (home / MAIN).write_text("name: small")
    real = os.mkdir

    def swapped(name: str, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rename(name, "gone", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.symlink(victim, name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(errors.PlanError, match="is not followed"):
        plan_in(home).write_parameters({}, [])
    assert not [*victim.iterdir()]
    assert victim.stat().st_mode & 0o777 == 0o700
    assert victim.stat().st_uid == os.getuid()


def test_plan_that_is_swapped(home: pathlib.Path) -> None:
    """All work is in the directory that is locked, whatever its name is."""
    moved = home.parent / "moved"
    files = directory.DirectoryFiles(home)
    with files.locked(exclusive=True):
        home.rename(moved)
        home.mkdir()
        files.write("a/b", b"x", replaces=None)
        files.delete(base.ROLES)
    assert not [*home.iterdir()]
    assert (moved / "a/b").read_bytes() == b"x"
    assert not (moved / base.ROLES).exists()


def test_folder_of_a_stranger(home: pathlib.Path) -> None:
    """Nothing is written where another user could lead it elsewhere."""
    os.chown(home / "environments", USER, USER)
    plan = plan_in(home)
    for act in (
        plan.check_writable,
        lambda: plan.write_parameters({"A": "1"}, []),
    ):
        with pytest.raises(errors.PlanError, match="environments: belongs to"):
            act()
    assert not (home / base.PARAMETERS).exists()


def test_file_of_a_stranger(home: pathlib.Path) -> None:
    """A planted file does not keep its owner when it is replaced."""
    (home / base.PARAMETERS).write_text("parameter_defaults: {}")
    os.chown(home / base.PARAMETERS, USER, USER)
    plan_in(home).write_parameters({"A": "1"}, [])
    assert (home / base.PARAMETERS).stat().st_uid == os.getuid()


def test_link_is_deleted_itself(home: pathlib.Path) -> None:
    """The file behind a link in the cache of others stays."""
    (home / "__cache__").mkdir()
    cached = home / "__cache__/__cache_overcloud_tripleo.parameters.get"
    cached.symlink_to(f"../{base.ROLES}")
    directory.DirectoryFiles(home).delete(f"__cache__/{cached.name}")
    assert not cached.is_symlink()
    assert (home / base.ROLES).exists()


@pytest.mark.parametrize(
    "target", ["../../etc", "../plan2", "/etc/passwd", "..", "/", "x/../../.."]
)
def test_links_that_lead_out(home: pathlib.Path, target: str) -> None:
    """However a link is written, it does not lead out of the plan."""
    (home / "user-environment.yaml").unlink()
    (home / "user-environment.yaml").symlink_to(target)
    with pytest.raises(errors.PlanError, match="leads out of the plan"):
        plan_in(home).read()
