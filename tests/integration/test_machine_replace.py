"""Roots of running LXC containers are replaced and restored."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pathlib
import shlex
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.machine import roots
from imageprep_client.machine.replacement import (
    replacing,
    runtime,
    swap,
    versions,
)
from imageprep_client.machine.replacement.journal import (
    ChangeRecord,
    Journal,
    Step,
)
from imageprep_client.machine.replacement.replacing import (
    ReplaceRequest,
    RootChanges,
)
from imageprep_client.machine.replacement.swap import Patience
from imageprep_client.machine.roots import finding
from imageprep_client.observer import Observer
from imageprep_client.programs import lxc
from tests import sampling
from tests.functional.base import OpenStack
from tests.lxc_containers import (
    KEY,
    BtrfsPool,
    Containers,
    write_config,
    write_root,
)

NAME = "infra1-keystone-container-cbd7b73e"
PATIENCE = Patience(stop=20, start=20)


@pytest.fixture(autouse=True)
def settles_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The busybox of the containers has nothing to settle."""
    monkeypatch.setattr(runtime, "_SETTLED", 0.2)


@pytest.fixture
def containers(tmp_path: pathlib.Path) -> Iterator[Containers]:
    """An lxcpath."""
    (tmp_path / "lxc").mkdir()
    containers = Containers(tmp_path / "lxc")
    yield containers
    containers.stop_all()


@pytest.fixture(params=["dir", "btrfs", "overlay"])
def container(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> Iterator[tuple[Containers, pathlib.Path]]:
    """A running container of each kind, and the directory of its root."""
    path = tmp_path / "lxc"
    if request.param == "btrfs":
        pool: BtrfsPool = request.getfixturevalue("pool")
        path = pool.path / tmp_path.name
    path.mkdir()
    containers = Containers(path)
    root = containers.add(NAME, request.param)
    containers.start(NAME)
    yield containers, root
    containers.stop_all()


def changes(
    containers: Containers, tmp_path: pathlib.Path, name: str = NAME
) -> RootChanges:
    """The changes of a container, with a journal for the test."""
    return RootChanges(
        roots.find(name, str(containers.path)),
        Observer(),
        journals=tmp_path / "journals",
    )


def check(containers: Containers, answer: str) -> str:
    """A check that the service answers so."""
    return (
        f"lxc-attach -P {containers.path} -n $MACHINE -- /bin/cat /tmp/answer"
        f" | grep -qx {shlex.quote(answer)}"
    )


def fill(path: pathlib.Path) -> None:
    """A new root without keys."""
    write_root(path, "2")


def fill_broken(path: pathlib.Path) -> None:
    """A root whose init ends at once."""
    write_root(path, "2")
    (path / "sbin/init").write_text("#!/bin/sh\nexit 1\n")


def replace(
    containers: Containers,
    tmp_path: pathlib.Path,
    *,
    keep: int = 1,
    carry: tuple[str, ...] = (),
) -> replacing.Replaced:
    """Replace the root, and see that the service answers with its key."""
    request = ReplaceRequest(
        check=check(containers, f"2 {KEY}"),
        patience=PATIENCE,
        keep=keep,
        carry=carry,
    )
    return changes(containers, tmp_path).replace(fill, request)


def test_service_has_its_key_after_a_replacement(
    container: tuple[Containers, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """A new root without secrets runs with those of the old one, and a
    rollback has the old root run again.
    """
    containers, root = container
    replaced = replace(containers, tmp_path)
    assert containers.answer(NAME) == f"2 {KEY}"
    assert replaced.carried >= 1
    assert replaced.swap.added is not None
    assert replaced.swap.outage is not None
    assert replaced.swap.added < replaced.swap.outage
    (kept,) = versions.kept(root)
    assert kept.path == replaced.swap.archived
    assert "of-the-base" not in containers.attach(NAME, "/bin/ls", "/")
    changes(containers, tmp_path).rollback(
        None, check(containers, f"1 {KEY}"), PATIENCE
    )
    assert containers.answer(NAME) == f"1 {KEY}"
    assert len(versions.kept(root)) == 1
    assert not list(root.parent.glob(".#*"))


def test_broken_root_is_taken_back(
    container: tuple[Containers, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """The old root is back and running; nothing is left of the new one."""
    containers, root = container
    inode = root.stat().st_ino
    with pytest.raises(
        errors.PartialFailure, match="the old root was restored"
    ):
        changes(containers, tmp_path).replace(
            fill_broken, ReplaceRequest(patience=PATIENCE)
        )
    assert root.stat().st_ino == inode
    assert containers.answer(NAME) == f"1 {KEY}"
    assert not versions.kept(root)
    assert not list(root.parent.glob(".#*"))


def test_container_that_cannot_be_started_again(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """It has its old root, the message says that it does not run, and the
    next command starts it.
    """
    root = containers.add(NAME)
    containers.start(NAME)
    config = containers.path / NAME / "config"
    text = config.read_text()
    config.write_text(f"{text}lxc.mount.entry = /absent opt none bind 0 0\n")
    inode = root.stat().st_ino
    request = ReplaceRequest(patience=PATIENCE)
    with pytest.raises(errors.PartialFailure) as caught:
        changes(containers, tmp_path).replace(fill, request)
    told = f"{NAME}: the old root could not be restored and started"
    assert str(caught.value) == told
    assert all("lxc-start" in str(one) for one in caught.value.failures)
    assert root.stat().st_ino == inode
    config.write_text(text)
    with pytest.raises(errors.InvalidArgument, match="no earlier root"):
        changes(containers, tmp_path).rollback(None, None, PATIENCE)
    assert containers.answer(NAME) == f"1 {KEY}"
    assert not list(root.parent.glob(".#*"))


def test_check_that_fails_takes_the_new_root_back(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """The message has the last line of the check."""
    containers.add(NAME)
    containers.start(NAME)
    request = ReplaceRequest(
        check="echo no answer yet >&2; exit 7",
        patience=Patience(stop=20, start=3.0),
    )
    with pytest.raises(errors.PartialFailure) as caught:
        changes(containers, tmp_path).replace(fill, request)
    assert "fails the check with status 7: no answer yet" in str(caught.value)
    assert containers.answer(NAME) == f"1 {KEY}"


def test_failed_root_with_a_mount_is_no_version(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """A new root that is taken back is kept while something is mounted in it;
    no rollback restores it, and the next command deletes it.
    """
    root = containers.add(NAME)
    containers.start(NAME)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    target = root / "mnt"
    request = ReplaceRequest(
        check=f"mkdir {target} && mount --bind {tmp_path}/data {target};"
        " false",
        patience=Patience(stop=20, start=3.0),
    )
    with pytest.raises(errors.PartialFailure, match="old root was restored"):
        changes(containers, tmp_path).replace(fill, request)
    (file,) = root.parent.glob("*/mnt/file")
    try:
        assert containers.answer(NAME) == f"1 {KEY}"
        with pytest.raises(errors.InvalidArgument, match="no earlier root"):
            changes(containers, tmp_path).rollback(None, None, PATIENCE)
    finally:
        subprocess.run(["umount", file.parent], check=True)
    with pytest.raises(errors.InvalidArgument, match="no earlier root"):
        changes(containers, tmp_path).rollback(None, None, PATIENCE)
    assert not list(root.parent.glob("*/mnt"))
    assert not list(root.parent.glob(".#*"))


def test_two_names_of_one_machine(
    containers: Containers,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A root among the machines of systemd that is that of a container is
    replaced once, in its place among others.
    """
    openstack = OpenStack(tmp_path)
    monkeypatch.setattr(lxc, "default_path", lambda: containers.path)
    monkeypatch.setattr(finding, "MACHINES", tmp_path / "machines")
    machine = ("image-prepare", "machine")
    (tmp_path / "machines").mkdir()
    root = containers.add(NAME).rename(tmp_path / "machines/www")
    write_config(containers.path, NAME, f"dir:{root}")
    openstack(*machine, "export", "www", "--to", "www.tar", stderr=".*")
    done = openstack(
        *(*machine, "replace", "gone1", "www", "gone2", NAME, "gone1"),
        *("--from", "www.tar", "--no-verify", "-f", "json"),
        status=1,
        stderr="(?s)2 of 3 machines not replaced.*",
    )
    assert [
        (row["Name"], row["State"]) for row in json.loads(done.stdout)
    ] == [("gone1", "failed"), (NAME, "replaced"), ("gone2", "failed")]
    assert len(versions.kept(root)) == 1


class _Killed(Journal):
    """A journal that kills the process before or after a step is written."""

    point: tuple[Step, bool]

    def write(self, record: ChangeRecord) -> None:
        if self.point == (record.step, False):
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(record)
        if self.point == (record.step, True):
            os.kill(os.getpid(), signal.SIGKILL)

    def clear(self) -> None:
        if self.point[0] is Step.KEPT and not self.point[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        super().clear()


@pytest.mark.parametrize(
    ("step", "after"), sampling.some(itertools.product(Step, [False, True]), 3)
)
def test_killed_replacement_is_brought_to_an_end(
    containers: Containers,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    after: bool,
) -> None:
    """A root is there whatever step was killed, and the next call replaces
    it.
    """
    root = containers.add(NAME)
    containers.start(NAME)
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        _Killed.point = (step, after)
        monkeypatch.setattr(replacing, "Journal", _Killed)
        replace(containers, tmp_path)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (root / "sbin/init").exists()
    with pytest.raises(errors.InvalidArgument, match="kept"):
        changes(containers, tmp_path).delete("a version")
    assert containers.answer(NAME) in (f"1 {KEY}", f"2 {KEY}")
    replace(containers, tmp_path, keep=5)
    assert containers.answer(NAME) == f"2 {KEY}"
    assert not list(root.parent.glob(".#*"))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(pathlib.Path, "rmdir"), (swap, "identity"), (Journal, "write")],
    ids=["named", "unnoticed", "noted"],
)
def test_interrupted_before_the_machine_stops(
    containers: Containers,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
) -> None:
    """A new root that the machine never had is no kept version."""
    root = containers.add(NAME)
    called = getattr(owner, name)

    def interrupted(*words: object) -> object:
        if any(root.parent.glob("rootfs~*")):
            raise KeyboardInterrupt
        return called(*words)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(containers, tmp_path)
    monkeypatch.undo()
    assert versions.kept(root) == []
    assert sorted(path.name for path in root.parent.iterdir()) == [
        "config",
        "rootfs",
    ]


@pytest.mark.parametrize("call", [1, 2])
def test_no_room_for_what_is_carried_over(
    containers: Containers,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
) -> None:
    """A disk that is full before the machine stops, or when it has, is named,
    and the old root stays.
    """
    root = containers.add(NAME)
    calls = []
    carry = RootChanges._carry

    def carry_until_full(*words: Any) -> None:
        calls.append(words)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        carry(*words)

    monkeypatch.setattr(RootChanges, "_carry", carry_until_full)
    kind = errors.NoSpace if call == 1 else errors.PartialFailure
    with pytest.raises(kind, match=f"{root}: no space left"):
        changes(containers, tmp_path).replace(fill, ReplaceRequest())
    assert (root / "release").read_text() == "1"
    assert not list(root.parent.glob(".#*"))
    assert not versions.kept(root)


def test_versions_beyond_those_to_keep_are_deleted(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """A stopped container stays stopped, and the newest versions are kept."""
    root = containers.add(NAME)
    for keep, count in ((2, 1), (2, 2), (2, 2), (0, 0)):
        changes(containers, tmp_path).replace(fill, ReplaceRequest(keep=keep))
        assert len(versions.kept(root)) == count
    assert not containers.is_running(NAME)
    assert (root / "etc/keystone/fernet-keys/0").read_text() == KEY


def test_links_of_the_new_root_are_not_followed(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """A link in place of a directory is refused, and leads nowhere."""
    root = containers.add(NAME)
    outside = tmp_path / "outside"
    outside.mkdir()

    def lead_away(path: pathlib.Path) -> None:
        write_root(path, "2")
        (path / "etc/keystone/fernet-keys").rmdir()
        (path / "etc/keystone").rmdir()
        (path / "etc/keystone").symlink_to(outside)

    with pytest.raises(errors.InvalidContent, match="/etc/keystone of the"):
        changes(containers, tmp_path).replace(lead_away, ReplaceRequest())
    assert not list(outside.iterdir())
    assert (root / "release").read_text() == "1"
    assert not list(root.parent.glob(".#*"))


def test_carried_files_keep_all_that_they_have(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """Owner, mode, times and attributes come along, also of added paths and
    of directories that the new root does not have.
    """
    root = containers.add(NAME)
    (root / "srv/app/keys").mkdir(parents=True)
    (root / "srv/app").chmod(0o750)
    file = root / "srv/app/keys/a"
    file.write_text("secret")
    os.setxattr(file, "user.note", b"kept")
    os.chown(file, 1234, 5678)
    file.chmod(0o640)
    os.utime(file, (1, 2))
    (root / "srv/app/keys/link").symlink_to("a")
    (root / "etc/shadow").write_text("root:secret:1:::::\nold:x:1:::::\n")
    changes(containers, tmp_path).replace(
        fill, ReplaceRequest(carry=["/srv/app/keys"])
    )
    assert (root / "release").read_text() == "2"
    status = file.stat()
    assert (status.st_uid, status.st_gid, status.st_mtime) == (1234, 5678, 2)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert os.getxattr(file, "user.note") == b"kept"
    assert stat.S_IMODE((root / "srv/app").stat().st_mode) == 0o750
    assert os.readlink(root / "srv/app/keys/link") == "a"
    shadow = (root / "etc/shadow").read_text()
    assert shadow == "root:secret:1:::::\nnew:*:1:::::\n"


def test_nothing_is_carried_when_told_so(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """The key stays in the kept version."""
    root = containers.add(NAME)
    changes(containers, tmp_path).replace(fill, ReplaceRequest(carries=False))
    assert not list((root / "etc/keystone/fernet-keys").iterdir())


def test_fresh_identity(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """Secrets are carried over, the identity is not, nor is that of the
    image.
    """
    root = containers.add(NAME)
    (root / "etc/machine-id").write_text("a" * 32)
    (root / "etc/ssh/ssh_host_rsa_key").write_text("old")

    def as_is(path: pathlib.Path) -> None:
        write_root(path, "2")
        (path / "etc/machine-id").write_text("b" * 32)
        (path / "etc/ssh/ssh_host_rsa_key").write_text("new")

    request = ReplaceRequest(fresh_identity=True)
    changes(containers, tmp_path).replace(as_is, request)
    assert (root / "etc/machine-id").read_text() == ""
    assert not (root / "etc/ssh/ssh_host_rsa_key").exists()
    assert (root / "etc/keystone/fernet-keys/0").read_text() == KEY


def test_base_of_an_overlay_is_not_replaced(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """A changed lower directory would break what is on it."""
    containers.add("top", "overlay")
    lower = containers.path / "lower" / "rootfs"
    write_config(containers.path, "lower", f"dir:{lower}")
    with pytest.raises(errors.InvalidArgument, match="lower directory of top"):
        changes(containers, tmp_path, "lower").replace(fill, ReplaceRequest())


def test_another_command_has_the_lock(
    containers: Containers,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two commands do not change one root."""
    from imageprep_client.machine.replacement import journal

    monkeypatch.setattr(journal, "_PATIENCE", 0.1)
    containers.add(NAME)
    first = Journal(tmp_path / "journals", containers.path / NAME / "rootfs")
    with first.locked(), pytest.raises(errors.StoreError, match="another"):
        changes(containers, tmp_path).delete(None)


def test_delete(containers: Containers, tmp_path: pathlib.Path) -> None:
    """A kept version goes alone, a machine with its versions, and none while
    it runs.
    """
    root = containers.add(NAME)
    for _ in range(2):
        changes(containers, tmp_path).replace(fill, ReplaceRequest(keep=2))
    newest, oldest = versions.kept(root)
    changes(containers, tmp_path).delete(oldest.version)
    assert versions.kept(root) == [newest]
    with pytest.raises(errors.InvalidArgument, match="is not kept"):
        changes(containers, tmp_path).delete(oldest.version)
    containers.start(NAME)
    with pytest.raises(errors.InvalidArgument, match="is running"):
        changes(containers, tmp_path).delete(None)
    containers.stop_all()
    changes(containers, tmp_path).delete(None)
    assert not (containers.path / NAME).exists()


def test_deleted_meanwhile(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """A command that waited for a deletion says so."""
    containers.add(NAME)
    waited = changes(containers, tmp_path)
    changes(containers, tmp_path).delete(None)
    with pytest.raises(errors.InvalidArgument, match="has deleted it"):
        waited.delete(None)


def test_export_and_replacement_by_commands(
    containers: Containers, tmp_path: pathlib.Path
) -> None:
    """A default export has no key, and a replacement by it runs with that of
    the container.
    """
    openstack = OpenStack(tmp_path)
    containers.add(NAME)
    containers.start(NAME)
    machine = ("image-prepare", "machine")
    store = ("--store", str(containers.path))
    image = f"oci:{openstack.home}/images//keystone:1"
    openstack(*machine, "export", NAME, "--to", image, *store, stderr="(?s).*")
    words = (*machine, "replace", NAME, "--from", image, *store)
    checked = ("--check", check(containers, f"1 {KEY}"), "--wait", "20")
    (row,) = openstack.json(*words, *checked, stderr="(?s).*")
    assert (row["Name"], row["State"]) == (NAME, "replaced")
    assert containers.answer(NAME) == f"1 {KEY}"
    (row,) = openstack.json(*words, "--skip-present", stderr="(?s).*")
    assert row["State"] == "present"
    failing = ("--check", "exit 1", "--wait", "1")
    openstack(
        *(*words, *failing),
        status=1,
        stderr="(?s).*the old root was restored.*",
    )
    assert containers.answer(NAME) == f"1 {KEY}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_while_the_machine_stops(
    containers: Containers, tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    """A machine that was told to stop runs again: after SIGKILL with the next
    command, else at once.
    """
    root = containers.add(NAME)
    init = root / "sbin/init"
    slow = "trap ': > /stopping; sleep 2; exit 0' PWR TERM"
    init.write_text(init.read_text().replace("trap 'exit 0' PWR TERM", slow))
    containers.start(NAME)
    containers.answer(NAME)
    child = os.fork()
    if child == 0:  # pragma: no cover - it ends here
        try:
            replace(containers, tmp_path)
        finally:
            os._exit(3)
    deadline = time.monotonic() + 60
    while not (root / "stopping").exists():
        assert time.monotonic() < deadline
    os.kill(child, number)
    os.waitpid(child, 0)
    if number == signal.SIGKILL:
        with pytest.raises(errors.InvalidArgument, match="no earlier root"):
            changes(containers, tmp_path).rollback(None, None, PATIENCE)
    # The stop that was begun would have ended by now.
    time.sleep(3)
    assert containers.is_running(NAME)
    assert containers.answer(NAME) == f"1 {KEY}"
