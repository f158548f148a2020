"""The tree as a whole: who writes, what is listed, what is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.host.directory import Directory, temporary_name
from imageprep_client.host.reading import Kind
from imageprep_client.stores.imageserve import ImageServeTree, layout
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.streams import put
from tests import tripleo_tree
from tests.trees import OnDisk

IMAGE = content.image("image")


def catalog(tree: ImageServeTree) -> list[str]:
    document = json.loads((tree.path / "v2" / "_catalog").read_bytes())
    assert set(document) == {"repositories"}
    return list(document["repositories"])


def unexpected(what: str) -> None:
    raise AssertionError(what)


class TestOpening:
    """A tree is made when it is written, and refused before that."""

    def test_nothing_is_touched(self, tree: ImageServeTree) -> None:
        """Naming a tree and its repositories makes nothing."""
        tree.store("ns/app")
        assert not tree.path.exists()

    def test_names_itself(self, tree: ImageServeTree) -> None:
        """The tree's identity is its path."""
        assert str(tree) == tree.registry == f"image-serve:{tree.path}"

    def test_is_made(self, tree: ImageServeTree) -> None:
        """A tree that can be written is made and left without traces."""
        tree.check_writable()
        found = {str(p.relative_to(tree.path)) for p in tree.path.rglob("*")}
        assert found == {".incoming"}

    def test_refused_content(self, tree: ImageServeTree) -> None:
        """Nothing is served of a tree before there is content for it."""
        store = tree.store("ns/app")
        wrong = content.Piece(IMAGE.parts[0].descriptor, b"wrong")
        with tree.lock(unexpected), pytest.raises(errors.InvalidContent):
            store_suite.push(store, wrong)
        assert not (tree.path / "v2").exists()

    def test_failed_beginning(
        self, tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread that cannot begin takes nothing from one that can."""
        other = threading.Thread(target=tree.publish)

        def full(self: object, path: str, data: bytes) -> None:
            monkeypatch.undo()
            other.start()
            other.join(0.2)  # or it waits for this thread
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(layout.TreeDirectory, "put", full)
        with pytest.raises(errors.NoSpace):
            tree.publish()
        other.join()
        assert (tree.path / "v2" / "index.json").read_bytes() == b"{}"

    def test_api_root(self, tree: ImageServeTree) -> None:
        """The root of the API is an empty object."""
        put(tree.store("ns/app"), IMAGE)
        assert (tree.path / "v2" / "index.json").read_bytes() == b"{}"

    def test_file_in_its_place(self, tree: ImageServeTree) -> None:
        """A file is no tree."""
        tree.path.write_text("a file")
        with pytest.raises(errors.InvalidArgument, match="not a directory"):
            tree.check_writable()

    def test_without_a_parent(self, tmp_path: Path) -> None:
        """Only the last part of the path is made."""
        tree = ImageServeTree(tmp_path / "missing" / "tree")
        with pytest.raises(errors.InvalidArgument, match="missing is no"):
            tree.check_writable()
        assert not (tmp_path / "missing").exists()

    @pytest.mark.parametrize("part", [".", "tree", "tree/v2"])
    def test_not_writable(self, home: Path, part: str) -> None:
        """A tree that may not be written is an error that names sudo."""
        tree = ImageServeTree(home / "tree")
        if part != ".":
            put(tree.store("ns/app"), IMAGE)
        if part == "tree":
            (tree.path / ".incoming").rmdir()
        (home / part).chmod(0o555)
        with pytest.raises(errors.AccessDenied) as caught:
            ImageServeTree(tree.path).check_writable()
        assert "sudo" in str(caught.value.hint)

    def test_rights(self, tree: ImageServeTree, masked: None) -> None:
        """All may read what is served, whatever the umask; nothing else."""
        put(tree.store("ns/app"), IMAGE, "latest")
        for path in (tree.path / "v2").rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o755 if path.is_dir() else 0o644), path
        assert stat.S_IMODE(tree.path.stat().st_mode) == 0o755
        assert stat.S_IMODE((tree.path / ".incoming").stat().st_mode) == 0o700


class TestLock:
    """One run writes at a time."""

    def test_free(self, tree: ImageServeTree) -> None:
        """A lock that nobody has is taken without a word."""
        with tree.lock(unexpected):
            assert (tree.path / ".lock").read_text() == f"{os.getpid()}\n"

    def test_is_given_back(self, tree: ImageServeTree) -> None:
        """The lock can be taken again when the block is over."""
        with tree.lock(unexpected):
            pass
        with ImageServeTree(tree.path).lock(unexpected):
            pass

    def test_another_run_looks_whether_it_can_write(
        self, tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file of the check may go while a run begins."""
        tree.prepare()
        entries = Directory.entries

        def listed(directory: Directory, path: str) -> dict[str, Kind]:
            return entries(directory, path) | {temporary_name(): Kind.FILE}

        monkeypatch.setattr(Directory, "entries", listed)
        with tree.lock(unexpected):
            assert list((tree.path / ".incoming").iterdir()) == []

    def test_second_run_waits(self, tree: ImageServeTree) -> None:
        """A second run says whom it waits for, and goes on after it."""
        said: list[str] = []
        waits, entered = threading.Event(), threading.Event()

        def second() -> None:
            def tell(what: str) -> None:
                said.append(what)
                waits.set()

            with ImageServeTree(tree.path).lock(tell):
                entered.set()

        thread = threading.Thread(target=second)
        with tree.lock(unexpected):
            thread.start()
            assert waits.wait(30)
            assert not entered.is_set()
        thread.join(30)
        assert entered.is_set()
        pid = os.getpid()
        assert said == [f"another run has {tree.path} (process {pid})"]

    def test_ends_with_its_process(self, tree: ImageServeTree) -> None:
        """A run that was killed does not keep the lock."""
        program = (
            "import sys, os\n"
            "from imageprep_client.stores.imageserve import ImageServeTree\n"
            "with ImageServeTree(sys.argv[1]).lock(print):\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        subprocess.run([sys.executable, "-c", program, tree.path], check=False)
        with tree.lock(unexpected):
            pass

    def test_leftovers_go(self, tree: ImageServeTree) -> None:
        """Unfinished files of an interrupted run are removed."""
        incoming = tree.path / ".incoming"
        put(tree.store("ns/app"), IMAGE)
        (incoming / temporary_name()).write_text("half")
        (incoming / "0123456789abcdef01234567").mkdir()
        (incoming / "0123456789abcdef01234567/index.json").write_text("half")
        with tree.lock(unexpected):
            assert not list(incoming.iterdir())
        assert (tree.path / "v2").is_dir()

    def test_others_work_is_seen(self, tree: ImageServeTree) -> None:
        """Content of another run is known once the lock is acquired."""
        tree.check_writable()
        assert tree.repositories() == []
        put(ImageServeTree(tree.path).store("ns/other"), IMAGE, "latest")
        with tree.lock(unexpected):
            assert tree.repositories() == ["ns/other"]


class TestLists:
    """The repositories of the tree are listed, sorted."""

    def test_nothing(self, tree: ImageServeTree) -> None:
        """A tree that is not there has no repositories."""
        assert tree.repositories() == []

    def test_repositories(self, tree: ImageServeTree) -> None:
        """Repositories at every depth are known and in the catalog."""
        names = ["z", "ns/app", "ns/app/deeper/still", "a"]
        for name in names:
            put(tree.store(name), IMAGE, "latest")
        assert ImageServeTree(tree.path).repositories() == sorted(names)
        assert catalog(tree) == sorted(names)

    def test_names_like_those_of_the_layout(
        self, tree: ImageServeTree
    ) -> None:
        """A repository may be named as the tree's own directories."""
        names = ["ns/blobs/manifests", "ns/manifests/tags"]
        for name in names:
            put(tree.store(name), IMAGE, "latest")
        assert ImageServeTree(tree.path).repositories() == names

    def test_untagged_images_are_not_listed(
        self, tree: ImageServeTree
    ) -> None:
        """A copy that was interrupted is on no list."""
        put(tree.store("ns/app"), IMAGE)
        assert catalog(tree) == []
        assert list(tree.defects()) == []

    def test_a_lost_catalog_is_made_again(self, tree: ImageServeTree) -> None:
        """A tree without lists gets them for the images that it has."""
        put(tree.store("ns/app"), IMAGE, "latest")
        (tree.path / "v2" / "_catalog").unlink()
        ImageServeTree(tree.path).prepare()
        assert catalog(tree) == ["ns/app"]

    def test_a_predecessors_catalog_is_sorted(
        self, tree: ImageServeTree
    ) -> None:
        """The first tag of a run brings the whole catalog in order."""
        for name in ("a/one", "a/two"):
            tripleo_tree.write(tree.path, name, IMAGE, "16.2")
        assert catalog(tree) == ["a/two", "a/one"]
        put(tree.store("a/one"), IMAGE, "latest")
        assert catalog(tree) == ["a/one", "a/two"]

    def test_deleted_repositories_go(self, tree: ImageServeTree) -> None:
        """With its last manifest a repository leaves the catalog."""
        put(tree.store("ns/app"), IMAGE, "latest")
        put(tree.store("ns/other"), IMAGE, "latest")
        tree.store("ns/app").delete(IMAGE.descriptor)
        assert catalog(tree) == tree.repositories() == ["ns/other"]
        assert not (tree.path / "v2" / "ns" / "app" / "tags").exists()


def _file_systems(path: Path) -> list[str]:
    """The descriptors that hold a directory open for reading."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            flags = Path(f"/proc/self/fdinfo/{link.name}").read_text()
            is_path = int(flags.split("flags:")[1].split()[0], 8) & os.O_PATH
            if os.readlink(link) == str(path) and not is_path:
                found.append(link.name)
    return found


class TestDisk:
    """Failures of the disk under a tree."""

    def test_one_barrier(
        self, tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Blobs are not synchronised one by one, but by the file system
        that was opened before they were written.
        """
        monkeypatch.setattr(os, "fsync", unexpected)
        tree.prepare()
        (opened,) = _file_systems(tree.path)
        put(tree.store("ns/app"), IMAGE, "latest")
        synchronised: list[disk.FileSystem] = []
        monkeypatch.setattr(
            disk.FileSystem,
            "synchronise",
            lambda self: synchronised.append(self),
        )
        tree.store("ns/app").flush()
        assert len(synchronised) == 1
        assert _file_systems(tree.path) == [opened]

    def test_flush_of_nothing(self, tree: ImageServeTree) -> None:
        """There is nothing to flush in a tree that is not there."""
        tree.flush()
        assert not tree.path.exists()

    def test_free_space(self, tree: ImageServeTree, tmp_path: Path) -> None:
        """Room is what an ordinary user has, before the tree is made."""
        room = os.statvfs(tmp_path)
        # Others write at the same time.
        expected = pytest.approx(room.f_bavail * room.f_frsize, rel=0.1)
        assert tree.free_space() == expected


def test_only_own_names_go(tree: ImageServeTree, tmp_path: Path) -> None:
    """Files of no run stay, and so do the targets of links."""
    incoming = tree.path / ".incoming"
    precious = tmp_path / "precious"
    (precious / "deep").mkdir(parents=True)
    tree.check_writable()
    (incoming / "file").write_text("x")
    (incoming / "directory").mkdir()
    (incoming / "0123456789abcdef01234567").symlink_to(precious)
    (incoming / temporary_name()).symlink_to(precious)
    before = sorted(os.listdir(incoming))
    with tree.lock(unexpected):
        assert sorted(os.listdir(incoming)) == before
    assert os.listdir(precious) == ["deep"]


def tags_list(tree: ImageServeTree, repository: str) -> list[str]:
    """The tags that a web server shows."""
    path = OnDisk(tree.store(repository)).tags_list
    tags: list[str] = json.loads(path.read_bytes())["tags"]
    return tags


def test_lists_of_many_tags(
    tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is not written for each of many tags, but in the end."""
    image = content.image("x")
    written = []
    render = layout.tags_list

    def spy(repository: str, tags: Iterable[str]) -> bytes:
        written.append(repository)
        return render(repository, tags)

    monkeypatch.setattr(layout, "tags_list", spy)
    names = sorted(f"t{number}" for number in range(300))
    with tree.lock(unexpected):
        store = tree.store("ns/app")
        store_suite.store_all(store, image)
        for name in names:
            store.tag(image.descriptor, name)
        assert list(store.tags()) == names
        assert len(written) < 100
        store.tag(image.descriptor, "new")
        store.untag(names[0])
        tree.flush()
        assert tags_list(tree, "ns/app") == ["new", *names[1:]]
        store.untag("new")
    assert tags_list(tree, "ns/app") == names[1:]
    assert list((tree.path / ".incoming").iterdir()) == []


def test_lists_after_a_kill(tree: ImageServeTree) -> None:
    """The next run writes the list of tags that a killed one did not write."""
    image = content.image("x")
    program = (
        "import os, sys\n"
        "from imageprep_client.stores.imageserve import ImageServeTree\n"
        "from imageprep_client.testing import content\n"
        "from imageprep_client.testing.store_suite import store_all\n"
        "tree, image = ImageServeTree(sys.argv[1]), content.image('x')\n"
        "with tree.lock(print):\n"
        "    store = tree.store('ns/app')\n"
        "    store_all(store, image)\n"
        "    for number in range(100):\n"
        "        store.tag(image.descriptor, f't{number}')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, tree.path], check=False)
    assert len(tags_list(tree, "ns/app")) < 100
    with tree.lock(unexpected):
        assert len(tags_list(tree, "ns/app")) == 100
    assert list(tree.stored_files("ns/app").defects()) == []
    assert tree.store("ns/app").exists(image.descriptor)
