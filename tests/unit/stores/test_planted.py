"""Files planted in a tree or a layout: nothing behind them changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.testing import content
from imageprep_client.testing.store_suite import store_all
from imageprep_client.testing.streams import put

IMAGE = content.image("planted")
STRANGER = 4711
REPOSITORY = "ns/app"


def never(what: str) -> None:
    raise AssertionError(what)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of this host that a run must not touch."""
    path = tmp_path / "victim"
    (path / "documents" / "deep").mkdir(parents=True)
    (path / "documents" / "deep" / "thesis").write_text("years of work")
    (path / ".ssh_key").write_text("secret")
    (path / ".ssh_key").chmod(0o600)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def state(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is below a directory, with owners and modes."""
    return {
        str(entry): (
            entry.lstat().st_uid,
            entry.lstat().st_mode,
            entry.read_bytes() if entry.is_file() else b"",
        )
        for entry in [path, *path.rglob("*")]
    }


def into_tree(path: Path) -> None:
    tree = ImageServeTree(path)
    tree.check_writable()
    with tree.lock(never):
        store = tree.store(REPOSITORY)
        put(store, IMAGE, "latest")
    tree.flush()


def into_layout(path: Path) -> None:
    root = LayoutRoot(path)
    root.check_writable()
    store = root.store(REPOSITORY)
    put(store, IMAGE, "latest")
    root.flush()


DIGEST = IMAGE.descriptor.digest
TREE = (
    ".incoming",
    "v2",
    "v2/ns",
    "v2/ns/app",
    "v2/ns/app/blobs",
    "v2/ns/app/manifests",
    f"v2/ns/app/manifests/{DIGEST}",
    "v2/ns/app/tags",
)
LAYOUT = ("ns", "ns/app", "ns/app/blobs", "ns/app/blobs/sha256")
PLACES = [
    *((into_tree, place) for place in TREE),
    *((into_layout, place) for place in LAYOUT),
]


@pytest.mark.parametrize("target", ["victim", "victim/new", "/proc/self/cwd"])
@pytest.mark.parametrize(("run", "place"), PLACES)
def test_linked_directories(
    home: Path,
    victim: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Path], None],
    place: str,
    target: str,
) -> None:
    """A link in the place of a directory is refused by name."""
    monkeypatch.chdir(victim)
    link = home / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim.parent / target)
    before = state(victim)
    with pytest.raises(errors.StoreError, match=str(link)):
        run(home)
    assert state(victim) == before
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("run", "place"), [place for place in PLACES if ":" not in place[1]]
)
def test_directories_of_strangers(
    home: Path, run: Callable[[Path], None], place: str
) -> None:
    """A stranger's directory on the way is refused by name."""
    path = home / place
    path.mkdir(parents=True)
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(errors.AccessDenied, match=f"belongs to {STRANGER}"):
        run(home)
    assert os.listdir(path) == []


@pytest.mark.parametrize(
    "place",
    [
        "v2/index.json",
        "v2/_catalog",
        "v2/ns/app/tags/list",
        "v2/ns/app/manifests/latest.type-map",
        "v2/ns/app/manifests/latest",
        f"v2/ns/app/blobs/{IMAGE.parts[0].descriptor.digest}",
        f"v2/ns/app/manifests/{DIGEST}/index.json",
        f"v2/ns/app/manifests/{DIGEST}/.htaccess",
    ],
)
@pytest.mark.parametrize("hard", [False, True])
def test_linked_files(
    home: Path, victim: Path, place: str, hard: bool
) -> None:
    """A link in the place of a file is replaced, never written through."""
    link = home / place
    link.parent.mkdir(parents=True, exist_ok=True)
    if hard:
        link.hardlink_to(victim / ".ssh_key")
    else:
        link.symlink_to(victim / ".ssh_key")
    before = state(victim)
    into_tree(home)
    assert state(victim) == before
    store = ImageServeTree(home).store(REPOSITORY)
    assert store.holds(store.resolve("latest"))


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "device"])
def test_lock_of_a_tree(home: Path, victim: Path, kind: str) -> None:
    """A lock that is no plain file is refused at once, and kept as it is."""
    lock = home / ".lock"
    if kind == "link":
        lock.symlink_to(victim / ".ssh_key")
    elif kind == "hard link":
        lock.hardlink_to(victim / ".ssh_key")
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        os.mknod(lock, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    before = state(victim)
    with pytest.raises(errors.AccessDenied, match=r"\.lock: not a regular"):
        into_tree(home)
    assert ImageServeTree(home).lock_owner() == ""
    assert state(victim) == before


def test_tree_behind_a_strangers_link(tmp_path: Path, victim: Path) -> None:
    """A tree is not made where somebody else's link leads."""
    link = tmp_path / "tree"
    link.symlink_to(victim)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    before = state(victim)
    for run in (into_tree, into_layout):
        with pytest.raises(errors.AccessDenied, match="is not followed"):
            run(link)
    assert state(victim) == before


def test_tree_replaced_while_it_is_written(home: Path, victim: Path) -> None:
    """A run that began in one directory ends in it."""
    tree = ImageServeTree(home / "tree")
    tree.check_writable()
    before = state(victim)
    with tree.lock(never):
        (home / "tree").rename(home / "moved")
        (home / "tree").symlink_to(victim)
        put(tree.store(REPOSITORY), IMAGE, "latest")
    assert state(victim) == before
    store = ImageServeTree(home / "moved").store(REPOSITORY)
    assert store.holds(store.resolve("latest"))


def test_removal_follows_no_links(home: Path, victim: Path) -> None:
    """Deleting an image removes links in its directory, not their targets."""
    into_tree(home)
    planted = home / f"v2/ns/app/manifests/{DIGEST}"
    (planted / "more").symlink_to(victim)
    referrers = home / "v2/ns/app/referrers"
    referrers.rename(home / "moved")
    referrers.symlink_to(victim)
    before = state(victim)
    tree = ImageServeTree(home)
    with tree.lock(never):
        tree.store(REPOSITORY).delete(IMAGE.descriptor)
    assert state(victim) == before
    assert not planted.exists()


@pytest.mark.parametrize("run", [into_tree, into_layout])
def test_set_group_id(home: Path, run: Callable[[Path], None]) -> None:
    """A directory that passes on its group is as good as any."""
    os.chown(home, -1, STRANGER)
    home.chmod(0o2775)
    run(home)


def test_names_of_a_trees_own_files(home: Path) -> None:
    """A repository or a tag that takes a file's place is refused by name."""
    tree = ImageServeTree(home)
    for name in ("index.json", "index.json/app", "a/manifests/1.type-map"):
        with pytest.raises(errors.InvalidReference, match="trees have files"):
            tree.store(name)
    into_tree(home)
    below = tree.store(f"{REPOSITORY}/manifests/1.0")
    store_all(below, IMAGE)
    with pytest.raises(errors.InvalidReference, match=r"manifests/1\.0"):
        tree.store(REPOSITORY).tag(IMAGE.descriptor, "1.0")
    with pytest.raises(errors.StoreError, match="not a directory"):
        store_all(tree.store(f"{REPOSITORY}/tags/list"), IMAGE)
