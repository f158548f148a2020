"""Roots with mounts, deep directories and immutable files are removed, or
left alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.machine import roots
from tests import machines, programs
from tests.functional.base import OpenStack

pytestmark = pytest.mark.needs_root
MACHINE = ("image-prepare", "machine")
#: Deeper than Python can follow by recursion.
DEEP = "d/" * 1500


@pytest.fixture
def openstack(tmp_path: Path) -> OpenStack:
    """The ``openstack`` command, with a home of its own."""
    return OpenStack(tmp_path / "home")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A directory of one stopped machine, and an archive for it."""
    (tmp_path / "machines/www/bin").mkdir(parents=True)
    (tmp_path / "machines/www/srv").mkdir()
    archive = machines.archive(
        machines.ROOT, machines.member("etc/release", content=b"new")
    )
    (tmp_path / "www.tar").write_bytes(archive)
    yield tmp_path / "machines"
    # pytest cannot remove deep directories.
    programs.run("rm", "-rf", "--one-file-system", tmp_path / "machines")


def words(store: Path, verb: str, *more: str) -> list[str]:
    """The words of a command for the machine."""
    return [*MACHINE, verb, "www", *more, "--store", str(store)]


def replacing(store: Path, *more: str) -> list[str]:
    """The words that replace its root."""
    archive = str(store.parent / "www.tar")
    return words(store, "replace", "--from", archive, "--no-verify", *more)


@contextlib.contextmanager
def mounted(source: Path, target: Path) -> Iterator[None]:
    """A bind mount."""
    programs.run("mount", "--bind", source, target)
    try:
        yield
    finally:
        programs.run("umount", target)


def test_mounts_in_a_root(
    openstack: OpenStack, store: Path, tmp_path: Path
) -> None:
    """Files mounted in a root, for a repair, are not deleted with it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    told = ".*machines/www: .*machines/www/srv is mounted on this host\nhint.*"
    with mounted(tmp_path / "data", store / "www/srv"):
        openstack(*replacing(store), status=2, stderr=told)
        openstack(*words(store, "delete", "--yes"), status=2, stderr=told)
    assert os.listdir(store) == ["www"]
    openstack(*replacing(store), stderr=".*")
    (kept,) = store.glob("www~*")
    told = told.replace("www", r"www~\w+")
    version = f"--version={kept.name[4:]}"
    with mounted(tmp_path / "data", kept / "srv"):
        openstack(*words(store, "rollback"), status=2, stderr=told)
        openstack(*words(store, "delete", "--yes"), status=2, stderr=told)
        openstack(
            *words(store, "delete", "--yes", version), status=2, stderr=told
        )
    assert sorted(os.listdir(store)) == ["www", kept.name]
    assert (tmp_path / "data/file").exists()


def test_mounts_in_kept_versions(
    openstack: OpenStack, store: Path, tmp_path: Path
) -> None:
    """A machine can be replaced and restored while something is mounted in
    another version, which stays.
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    openstack(*replacing(store), stderr=".*")
    (first,) = store.glob("www~*")
    with mounted(tmp_path / "data", first / "srv"):
        openstack(
            *replacing(store),
            stderr="WARNING: not deleted: .*/www~.* is mounted on this host"
            r" \(unmount it first\)\n.*replaced.*",
        )
        openstack(*words(store, "rollback"), stderr=".* restored.*")
        assert (first / "srv/file").exists()
    openstack(*replacing(store), stderr="[^\n]*replaced.*")
    assert len(os.listdir(store)) == 2
    assert not first.exists()


def test_deep_directories(openstack: OpenStack, store: Path) -> None:
    """A machine cannot keep its roots from being replaced and deleted."""
    programs.run("mkdir", "-p", store / "www/srv" / DEEP)
    openstack(*replacing(store, "--keep", "0"), stderr=".*")
    assert os.listdir(store) == ["www"]


def test_deep_directories_to_carry_over(
    openstack: OpenStack, store: Path
) -> None:
    """They are refused in one line, and nothing is changed."""
    programs.run("mkdir", "-p", store / "www/var/log" / DEEP)
    openstack(
        *replacing(store),
        status=2,
        stderr="var/log/d/.*: has too many directories in one another to be"
        " carried over\nhint: .*",
    )
    assert os.listdir(store) == ["www"]
    assert not (store / "www/etc").exists()


def test_deep_directories_of_an_archive(
    openstack: OpenStack, store: Path
) -> None:
    """An archive that is refused leaves nothing."""
    deep = machines.member("x", pax_headers={"path": f"{DEEP}x"})
    path = store.parent / "deep.tar"
    path.write_bytes(machines.archive(machines.ROOT, deep))
    openstack(
        *(*MACHINE, "import", "deep", "--store", str(store)),
        *("--from", str(path), "--no-verify"),
        status=2,
        stderr=".*deep.tar: has no root file system.*",
    )
    assert os.listdir(store) == ["www"]


def test_old_root_that_cannot_be_deleted(
    openstack: OpenStack, store: Path
) -> None:
    """The machine has its new root all the same, and the next command
    deletes the old one as soon as that is possible.
    """
    file = store / "www/bin/immutable"
    file.touch()
    programs.run("chattr", "+i", file)
    told = (
        "(?s)WARNING: not deleted: .*Operation not permitted \\(.*chattr -i\\)"
        ".*replaced.*"
    )
    try:
        openstack(*replacing(store, "--keep", "0"), stderr=told)
        assert (store / "www/etc/release").read_text() == "new"
        openstack(*replacing(store, "--keep", "0"), stderr=told)
    finally:
        for left in store.rglob("immutable"):
            programs.run("chattr", "-i", left)
    openstack(
        *replacing(store, "--keep", "0"), stderr="(?!.*undo)[^\n]*replaced.*"
    )
    assert os.listdir(store) == ["www"]


@pytest.mark.parametrize("verb", ["import", "replace"])
def test_directories_that_an_archive_lacks(
    openstack: OpenStack, store: Path, verb: str
) -> None:
    """They are readable by all, and only root can write to them."""
    archive = machines.archive(machines.member("usr/bin/x", content=b"x"))
    path = store.parent / "x.tar"
    path.write_bytes(archive)
    name = "www" if verb == "replace" else "new"
    mask = os.umask(0o077)
    try:
        openstack(
            *(*MACHINE, verb, name, "--store", str(store)),
            *("--from", str(path), "--no-verify"),
            stderr=".*",
        )
    finally:
        os.umask(mask)
    modes = [
        stat.S_IMODE((store / name / path).stat().st_mode)
        for path in ("", "usr", "usr/bin")
    ]
    assert modes == [0o755] * 3


def test_interrupted_deletion_is_completed(
    openstack: OpenStack, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root, which has no name any more, goes with the next call."""

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(roots, "remove", interrupted)
        openstack(*words(store, "delete", "--yes"), status=130, stderr=".*")
    assert not (store / "www").exists()
    assert len(list(store.iterdir())) == 1
    openstack(*words(store, "delete", "--yes"), stderr="www: .*completed.*")
    assert not list(store.iterdir())
    openstack(
        *words(store, "delete", "--yes"), status=2, stderr="www: no machine.*"
    )
