"""Clones of roots, each a machine of its own."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess

import pytest

from imageprep_client import errors
from imageprep_client.client.machine import changes
from imageprep_client.machine import cloning, roots
from imageprep_client.programs import lxc
from tests.lxc_containers import KEY, BtrfsPool, Containers, write_root
from tests.programs import run


@pytest.fixture(autouse=True)
def state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory of the test."""
    path = tmp_path.with_name(f"{tmp_path.name}.state")
    monkeypatch.setenv("XDG_STATE_HOME", str(path))


def write_identity(root: pathlib.Path) -> None:
    """Give a root an identity that no clone may have."""
    (root / "etc/machine-id").write_text("a" * 32 + "\n")
    (root / "etc/hostname").write_text("base\n")
    (root / "etc/ssh/ssh_host_rsa_key").write_text("private")


def clone(
    store: pathlib.Path, base: str, *names: str
) -> list[changes.ClonedMachine]:
    """Make clones."""
    return list(changes.clone(roots.find(base, str(store)), names))


def test_snapshots_take_no_room_and_turn_no_quota_on(pool: BtrfsPool) -> None:
    """32 clones of a base need 1.05 times its space, and have 32 IDs."""
    store = pool.path / "machines"
    store.mkdir()
    base = store / "base"
    run("btrfs", "-q", "subvolume", "create", str(base))
    write_root(base, "1")
    write_identity(base)
    (base / "usr/lib/data").write_bytes(os.urandom(64 << 20))
    before = pool.used()
    names = [f"m{number}" for number in range(32)]
    clones = clone(store, "base", *names)
    assert pool.used() <= 1.05 * before
    assert {str(made.method) for made in clones} == {"snapshot"}
    ids = {(store / name / "etc/machine-id").read_text() for name in names}
    assert len(ids) == 32
    assert all(len(text.strip()) == 32 for text in ids)
    assert (store / "m1/etc/hostname").read_text() == "m1\n"
    assert not (store / "m1/etc/ssh/ssh_host_rsa_key").exists()
    assert (base / "etc/machine-id").read_text() == "a" * 32 + "\n"
    quota = subprocess.run(
        ["btrfs", "qgroup", "show", str(pool.path)],
        check=False,
        capture_output=True,
    )
    assert quota.returncode != 0
    assert sorted(path.name for path in store.iterdir()) == sorted(
        ["base", *names]
    )


def test_directory_is_copied_in_full(tmp_path: pathlib.Path) -> None:
    """Attributes and owners come along, and the copy is said to be one."""
    base = tmp_path / "base"
    write_root(base, "1")
    write_identity(base)
    os.chown(base / "release", 1234, 5678)
    os.setxattr(base / "release", "user.note", b"kept")
    (made,) = clone(tmp_path, "base", "www")
    assert made.method == "full copy"
    release = tmp_path / "www/release"
    assert (release.stat().st_uid, release.stat().st_gid) == (1234, 5678)
    assert os.getxattr(release, "user.note") == b"kept"
    assert (tmp_path / "www/etc/hostname").read_text() == "www\n"


@pytest.mark.parametrize("backing", ["dir", "btrfs", "overlay"])
def test_containers_of_lxc(
    pool: BtrfsPool, tmp_path: pathlib.Path, backing: str
) -> None:
    """A clone starts with its own name, and the base has what it had."""
    path = tmp_path / "lxc"
    if backing == "btrfs":
        path = pool.path / tmp_path.name
    path.mkdir()
    containers = Containers(path)
    containers.add("base", backing)
    write_identity(
        path / "lower/rootfs" if backing == "overlay" else path / "base/rootfs"
    )
    try:
        (made,) = clone(path, "base", "www")
        expected = "snapshot" if backing == "btrfs" else "overlay"
        assert made.method == expected
        containers.start("www")
        assert containers.answer("www") == f"1 {KEY}"
        machine_id = containers.attach("www", "/bin/cat", "/etc/machine-id")
        assert len(machine_id.strip()) == 32
        assert machine_id != "a" * 32 + "\n"
        assert containers.attach("www", "/bin/cat", "/etc/hostname") == "www\n"
        assert containers.attach("www", "/bin/ls", "/etc/ssh") == ""
        containers.start("base")
        assert containers.answer("base") == f"1 {KEY}"
        with pytest.raises(errors.InvalidArgument, match="base: is running"):
            clone(path, "base", "other")
    finally:
        containers.stop_all()


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["base"], "already exists"),
        (["a", "a"], "a: is given twice"),
        (["a", "../b"], "is no name of a machine"),
        (["-a"], "is no name of a machine"),
    ],
)
def test_unusable_names(
    tmp_path: pathlib.Path, names: list[str], problem: str
) -> None:
    """Nothing is made when one of the names cannot be used."""
    write_root(tmp_path / "base", "1")
    with pytest.raises(errors.InvalidArgument, match=problem):
        clone(tmp_path, "base", *names)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def killed(store: pathlib.Path) -> None:
    """A command that is killed before the clone has an identity."""
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        cloning.Cloning._give_identity = lambda *_: os.kill(  # type: ignore[method-assign]
            os.getpid(), signal.SIGKILL
        )
        clone(store, "base", "www")
        os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


@pytest.mark.parametrize("backing", ["dir", "btrfs", "overlay"])
def test_killed_clone_of_a_container(
    pool: BtrfsPool, tmp_path: pathlib.Path, backing: str
) -> None:
    """A container with the identity of its base is no machine, and the next
    call makes it anew.
    """
    path = tmp_path / "lxc"
    if backing == "btrfs":
        path = pool.path / tmp_path.name
    path.mkdir()
    base = Containers(path).add("base", backing)
    write_identity(path / "lower/rootfs" if backing == "overlay" else base)
    killed(path)
    names = [root.name for root in roots.list_roots(str(path))]
    assert names == ["base"]
    with pytest.raises(errors.InvalidArgument, match="was not finished"):
        roots.find("www", str(path))
    clone(path, "base", "www")
    with roots.find("www", str(path)).files() as files:
        assert (files / "etc/hostname").read_text() == "www\n"
        assert not (files / "etc/ssh/ssh_host_rsa_key").exists()
    assert not list(path.rglob(".#*"))


def test_killed_clone_of_a_directory(tmp_path: pathlib.Path) -> None:
    """The next call deletes the copy that it left."""
    write_root(tmp_path / "base", "1")
    killed(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    clone(tmp_path, "base", "web")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["base", "web"]


def test_interrupted_as_lxc_copies(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of the clone."""
    Containers(tmp_path).add("base")
    copy = lxc.LxcContainer.copy

    def interrupted(container: lxc.LxcContainer, new: str) -> None:
        copy(container, new)
        raise KeyboardInterrupt

    monkeypatch.setattr(lxc.LxcContainer, "copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clone(tmp_path, "base", "www")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


@pytest.mark.parametrize("backing", ["dir", "overlay"])
def test_one_name_at_the_same_time(
    tmp_path: pathlib.Path, backing: str
) -> None:
    """One call makes the container; the others are refused, and leave it."""
    Containers(tmp_path).add("base", backing)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            try:
                clone(tmp_path, "base", "www")
            except errors.InvalidArgument:
                os._exit(2)
            os._exit(0)
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert sorted(map(os.waitstatus_to_exitcode, ends)) == [0, 2, 2, 2]
    with roots.find("www", str(tmp_path)).files() as files:
        assert (files / "etc/hostname").read_text() == "www\n"
