"""Roots of machines, found where LXC and systemd keep them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.machine import roots
from imageprep_client.machine.roots import RootKind, finding
from imageprep_client.programs import lxc
from tests import machines, programs
from tests.machines import NAME

pytestmark = pytest.mark.needs_root


def test_container_in_a_directory(tmp_path: Path) -> None:
    """Its configuration says where its root is, and what is mounted."""
    path = machines.container(tmp_path)
    root = roots.find(NAME, str(tmp_path))
    assert (root.kind, root.path) == (RootKind.LXC_DIR, path)
    assert root.bind_mounts == [f"{tmp_path}/shared:/srv/shared"]
    assert root.networks == [{"type": "empty"}]
    assert root.state() == "stopped"


def test_state_of_a_running_container(tmp_path: Path) -> None:
    """LXC is asked."""
    machines.container(tmp_path)
    with machines.started(tmp_path):
        assert roots.find(NAME, str(tmp_path)).state() == "running"


def test_overlay(tmp_path: Path) -> None:
    """The root of an overlay has two directories."""
    lower = machines.container(tmp_path, "base")
    upper = tmp_path / "upper"
    upper.mkdir()
    machines.container(
        tmp_path, "c2", scheme="overlay", path=f"{lower}:{upper}"
    )
    root = roots.find("c2", str(tmp_path))
    assert root.kind is RootKind.LXC_OVERLAY
    assert (root.lower, root.path) == (lower, upper)


@pytest.mark.parametrize("scheme", ["lvm", "zfs"])
def test_unsupported_kind(tmp_path: Path, scheme: str) -> None:
    """It is refused by its name, and left out of a list."""
    machines.container(tmp_path, scheme=scheme, path="/dev/lxc/c1")
    with pytest.raises(errors.InvalidArgument, match=f"kept by {scheme}"):
        roots.find(NAME, str(tmp_path))
    assert not roots.list_roots(str(tmp_path))


def test_directory_of_machines(tmp_path: Path) -> None:
    """Directories are roots; links, hidden names and files are not."""
    for name in ("m1", "m2", ".hidden"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "link").symlink_to("m1")
    (tmp_path / "file").touch()
    listed = roots.list_roots(str(tmp_path))
    assert [(root.name, root.kind) for root in listed] == [
        ("m1", RootKind.DIRECTORY),
        ("m2", RootKind.DIRECTORY),
    ]
    assert not listed[0].is_read_only()


def test_subvolume(tmp_path: Path) -> None:
    """A subvolume of btrfs is told from a directory; so is a read-only one."""
    with machines.btrfs(tmp_path) as pool:
        (pool / "d").mkdir()
        programs.run("btrfs", "subvolume", "create", pool / "s")
        programs.run(
            "btrfs", "subvolume", "snapshot", "-r", pool / "s", pool / "t"
        )
        listed = roots.list_roots(str(pool))
        assert [(r.name, r.kind, r.is_read_only()) for r in listed] == [
            ("d", RootKind.DIRECTORY, False),
            ("s", RootKind.SUBVOLUME, False),
            ("t", RootKind.SUBVOLUME, True),
        ]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-P", "a/b", ".hidden", "a\nb", "x" * 64, "a..b"]
)
def test_name(tmp_path: Path, name: str) -> None:
    """A name is neither a path nor an option."""
    with pytest.raises(errors.InvalidArgument, match="no name of a machine"):
        roots.find(name, str(tmp_path))


@pytest.mark.parametrize("store", [None, "machines"])
def test_container_among_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str | None
) -> None:
    """A directory of systemd's machines that is the root of an LXC container
    is that of the container, which LXC starts and stops.
    """
    monkeypatch.setattr(lxc, "default_path", lambda: tmp_path / "lxc")
    monkeypatch.setattr(finding, "MACHINES", tmp_path / "machines")
    path = tmp_path / "machines" / NAME
    machines.make_root(path)
    (tmp_path / "machines/other").mkdir()
    machines.container(tmp_path / "lxc", path=str(path))
    root = roots.find(NAME, store)
    assert (root.is_lxc, root.path) == (True, path)
    listed = [(one.name, one.is_lxc) for one in roots.list_roots(store)]
    assert listed == [(NAME, True), ("other", False)]


def test_absent(tmp_path: Path) -> None:
    """The stores that were looked at are named."""
    with pytest.raises(errors.InvalidArgument, match=f"in {tmp_path}"):
        roots.find("m1", str(tmp_path))
    with pytest.raises(errors.InvalidArgument, match="no such directory"):
        roots.find("m1", str(tmp_path / "absent"))


def test_size_counts_hard_links_once(tmp_path: Path) -> None:
    """It is what the files take on the disk."""
    root = tmp_path / "m1"
    root.mkdir()
    (root / "a").write_bytes(bytes(1 << 20))
    (root / "b").hardlink_to(root / "a")
    size = roots.find("m1", str(tmp_path)).size()
    assert 1 << 20 <= size < 3 << 19
