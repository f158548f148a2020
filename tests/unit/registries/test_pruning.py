"""Images that `registries.pruning` deletes, and those that it never does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.registries import PruneRequest, Registries
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.observer import Observer
from imageprep_client.oci import referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.registries import pruning
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.imageserve.files import ImageServeFiles
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.registry import Behaviour, RegistryServer
from tests.recorder import Recorder
from tests.trees import OnDisk
from tests.unit.registries import sites
from tests.unit.registries.sites import HOST, add, prune, put

LAYER = content.blob("layer")
OLD = content.image("old", [LAYER, content.blob("o")])
NEW = content.image("new", [LAYER, content.blob("n")])
INDEX = content.index({"linux/amd64": OLD, "linux/arm64": NEW})


@pytest.fixture
def filled(tree: ImageServeTree) -> ImageServeTree:
    """Two images that share a layer, one of them in two repositories."""
    add(tree.store("ns/a"), OLD, "1")
    add(tree.store("ns/a"), NEW, "2", "latest")
    add(tree.store("ns/b"), OLD, "1")
    return tree


def rows(result) -> dict[tuple[str, str], int]:
    return {(row.repository, row.name): row.size for row in result.rows}


def total(*pieces: content.Piece) -> int:
    return sum(piece.descriptor.size for piece in pieces)


def test_rows(filled: ImageServeTree, tmp_path: Path) -> None:
    """Each tag that goes is a row; what is still linked frees nothing."""
    result = prune(filled, tmp_path, f"{HOST}/ns/a:latest")
    own = (OLD.parts[1], OLD.parts[2])
    assert rows(result) == {
        # Its blobs are in the other repository, too.
        ("ns/a", "1"): total(OLD.manifest),
        ("ns/a", "2"): 0,
        ("ns/b", "1"): total(OLD.manifest, *own),
    }
    assert (result.kept, result.collected) == (1, True)


def test_empty_repository_goes(filled: ImageServeTree, tmp_path: Path) -> None:
    """A repository with nothing in it is in no list and on no disk."""
    prune(filled, tmp_path, f"{HOST}/ns/a:1")
    assert filled.repositories_on_disk() == filled.repositories() == ["ns/a"]
    assert not (filled.path / "v2/ns/b").exists()


def test_kept_by_digest(filled: ImageServeTree, tmp_path: Path) -> None:
    """An image named by digest stays, without its tags."""
    prune(filled, tmp_path, f"{HOST}/ns/a@{OLD.descriptor.digest}")
    store = filled.store("ns/a")
    assert store.holds(OLD.descriptor)
    assert list(store.tags()) == []
    assert sites.found(filled) == set()


def test_kept_by_tag_and_digest(
    filled: ImageServeTree, tmp_path: Path
) -> None:
    """Of a name with both, both stay."""
    digest = OLD.descriptor.digest
    prune(filled, tmp_path, f"{HOST}/ns/a:2@{digest}")
    store = filled.store("ns/a")
    assert list(store.tags()) == ["2"]
    assert store.holds(OLD.descriptor)


def test_child_of_index_by_digest(
    tree: ImageServeTree, tmp_path: Path
) -> None:
    """An image of an index that is named by itself outlives the index."""
    child, other = content.image("child"), content.image("sibling")
    index = content.index({"linux/amd64": child, "linux/arm64": other})
    store = tree.store("ns/a")
    add(store, index, "1")
    prune(tree, tmp_path, f"{HOST}/ns/a@{child.descriptor.digest}")
    assert store.holds(child.descriptor)
    assert not store.exists(index.descriptor)
    assert not store.exists(other.descriptor)


def test_names_in_lists_and_maps(tmp_path: Path) -> None:
    """A name counts wherever in a parameter it is."""
    registry = MemoryRegistry()
    for tag in ("1", "2", "3"):
        add(registry.store("ns/a"), content.image(tag), tag)
    path = tmp_path / "nested.yaml"
    path.write_text(
        "parameter_defaults:\n"
        f"  A: [[{HOST}/ns/a:1]]\n"
        f"  B: {{c: '{HOST}/ns/a:2', d: 4}}\n"
    )
    assert rows(_prune_with(registry, path)).keys() == {("ns/a", "3")}


def test_each_environment_keeps(tmp_path: Path) -> None:
    """Files of two deployments keep the images of both."""
    registry = MemoryRegistry()
    for tag in ("1", "2", "3"):
        add(registry.store("ns/a"), content.image(tag), tag)
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    for tag, path in (("1", first), ("2", second)):
        path.write_text(f"parameter_defaults: {{A: '{HOST}/ns/a:{tag}'}}")
    assert rows(_prune_with(registry, first, second)).keys() == {("ns/a", "3")}


def _prune_with(registry, *paths: Path):
    return pruning.prune(
        pruning.PruneRequest(environment_files=[str(p) for p in paths]),
        open_registry=lambda parameters: registry,
        is_here=lambda _, name: name == HOST,
        observer=Observer(),
    )


def test_another_registry(tmp_path: Path) -> None:
    """A name of another registry keeps nothing of this one."""
    registry = MemoryRegistry()
    for tag in ("1", "2"):
        add(registry.store("ns/a"), content.image(tag), tag)
    result = prune(registry, tmp_path, f"{HOST}/ns/a:1", "quay.io/ns/a:2")
    assert rows(result).keys() == {("ns/a", "2")}


def test_tree_by_any_name(filled: ImageServeTree, tmp_path: Path) -> None:
    """A tree does not know its name, so images of all names are kept."""
    path = tmp_path / "environment.yaml"
    path.write_text(
        f"parameter_defaults: {{A: '{HOST}/ns/a:1', B: '192.0.2.1/ns/a:2'}}"
    )
    registries = Registries(RegistryOptions(image_serve=str(filled.path)))
    registries.prune(PruneRequest(environment_files=[str(path)]))
    assert list(filled.store("ns/a").tags()) == ["1", "2"]


@pytest.mark.parametrize("name", [f"{HOST}/ns/x:1", "17.1", "not a name"])
def test_nothing_named_is_here(
    filled: ImageServeTree, tmp_path: Path, name: str
) -> None:
    """An environment that names nothing here would delete everything."""
    with pytest.raises(errors.InvalidArgument, match="all of it would be"):
        prune(filled, tmp_path, name)
    assert sites.found(filled) == set()
    assert filled.repositories() == ["ns/a", "ns/b"]


def test_keep_last(tree: ImageServeTree, tmp_path: Path) -> None:
    """The images made last stay, whatever their tags and time zones."""
    store = tree.store("ns/a")
    times = {
        "z": "2024-01-01T00:00:00Z",
        "y": "2024-01-02T01:00:00+02:00",
        "x": "2024-01-01T23:30:00.5Z",
        "w": "2024-01-01T23:30:00.25Z",
        "v": "yesterday",
        "u": None,
        "t": "2024-13-01T00:00:00Z",
    }
    for tag, created in times.items():
        add(store, sites.made(tag, created), tag)
    prune(tree, tmp_path, keep_last=3)
    assert list(store.tags()) == ["w", "x", "y"]


def test_keep_last_ties(tree: ImageServeTree, tmp_path: Path) -> None:
    """Of images as old as each other, the later tags stay."""
    store = tree.store("ns/a")
    for tag in ("1", "3", "2"):
        add(store, content.image(tag), tag)
    prune(tree, tmp_path, keep_last=2)
    assert list(store.tags()) == ["2", "3"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_keep_last_counts_images(
    tree: ImageServeTree, tmp_path: Path, algorithm: str
) -> None:
    """Attachments of an image take no other image's place."""
    store = tree.store("ns/a")
    image = content.image("2", algorithm=algorithm)
    add(store, image, "2")
    add(store, content.image("1"), "1")
    name = referrers.tag_of(image.descriptor.digest)
    add(store, content.image("signature"), f"{name}.sig")
    add(store, content.image("lost"), f"sha256-{'0' * 64}.att")
    prune(tree, tmp_path, keep_last=1)
    assert list(store.tags()) == ["2", f"{name}.sig"]


def test_keep_last_and_environment(
    filled: ImageServeTree, tmp_path: Path
) -> None:
    """Both together keep what either keeps."""
    prune(filled, tmp_path, f"{HOST}/ns/a:1", keep_last=1)
    assert list(filled.store("ns/a").tags()) == ["1", "latest"]
    assert list(filled.store("ns/b").tags()) == ["1"]


def test_leftovers_go(filled: ImageServeTree, tmp_path: Path) -> None:
    """Leftovers of a killed run or a crash go, whole or broken."""
    put(filled.store("gone"), [content.blob("stray")])
    paths = OnDisk(filled.store("ns/a"))
    (paths.manifests / f"sha256:{'0' * 64}").mkdir()
    broken = paths.manifests / f"sha256:{'1' * 64}"
    broken.mkdir()
    (broken / "index.json").write_text("{")
    result = prune(filled, tmp_path, keep_last=9)
    assert rows(result) == {
        ("gone", content.blob("stray").descriptor.digest): 1000,
        ("ns/a", broken.name): 1,
    }
    assert sites.found(filled) == set()


def test_referrers_go(filled: ImageServeTree, tmp_path: Path) -> None:
    """Referrers of a deleted image go, and are listed no more."""
    artifact = content.artifact("sbom", OLD.descriptor)
    store = filled.store("ns/a")
    put(store, artifact.pieces)
    prune(filled, tmp_path, f"{HOST}/ns/a:2")
    assert store.referrers(OLD.descriptor) == ()
    assert not store.exists(artifact.descriptor)
    assert not OnDisk(store).referrers_of(OLD.descriptor.digest).exists()


@pytest.mark.parametrize("kept", ["1", "2"])
def test_kept_image_is_broken(
    filled: ImageServeTree, tmp_path: Path, kept: str
) -> None:
    """Nobody knows what a broken image needs: keeping it stops all."""
    path = OnDisk(filled.store("ns/a")).manifest(OLD.descriptor.digest)
    path.write_text("{}")
    name = f"{HOST}/ns/a:{kept}"
    if kept == "2":
        prune(filled, tmp_path, name)
        assert not path.exists()
        return
    with pytest.raises(errors.InvalidContent, match="what is to be kept"):
        prune(filled, tmp_path, name)
    assert filled.repositories() == ["ns/a", "ns/b"]


def test_kept_tag_names_nothing(
    filled: ImageServeTree, tmp_path: Path
) -> None:
    """A kept tag that cannot be followed stops all."""
    OnDisk(filled.store("ns/a")).type_map("2").write_text("?")
    with pytest.raises(errors.InvalidContent, match="ns/a: 2: missing"):
        prune(filled, tmp_path, f"{HOST}/ns/a:2")


@pytest.mark.parametrize("dry_run", [True, False])
def test_while_a_run_writes(
    filled: ImageServeTree, tmp_path: Path, dry_run: bool
) -> None:
    """Nothing is deleted while a run has the lock, and nobody waits."""
    other = ImageServeTree(filled.path)
    with (
        other.lock(lambda what: None),
        pytest.raises(
            errors.StoreError, match=r"run .*\(process \d+\): nothing"
        ) as caught,
    ):
        prune(filled, tmp_path, keep_last=1, dry_run=dry_run)
    assert caught.value.hint == "prune again when the run has ended"


class Stopped(Exception):
    """The power is gone."""


def test_stopped_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stops, each tag that is left is whole, and it goes on."""
    discard, untag = ImageServeFiles.discard, None
    for number, steps in enumerate(range(1, 9)):
        home = tmp_path / str(number)
        home.mkdir()
        tree = ImageServeTree(home / "tree")
        add(tree.store("ns/a"), OLD, "1")
        add(tree.store("ns/a"), NEW, "2")
        add(tree.store("ns/b"), OLD, "1")
        left = iter(range(steps))

        def stop(self, stored, left=left) -> None:
            if next(left, None) is None:
                raise Stopped
            discard(self, stored)

        with monkeypatch.context() as patch:
            patch.setattr(ImageServeFiles, "discard", stop)
            try:
                prune(tree, home, f"{HOST}/ns/a:2")
            except Stopped:
                untag = True
        for name in ImageServeTree(tree.path).repositories():
            store = tree.store(name)
            for tag in store.tags():
                assert store.holds(store.resolve(tag))
        prune(ImageServeTree(tree.path), home, f"{HOST}/ns/a:2")
        assert sites.found(ImageServeTree(tree.path)) == set()
        assert tree.repositories_on_disk() == ["ns/a"]
    assert untag


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer(behaviour=Behaviour(untags=False)) as server:
        yield server


@pytest.fixture
def remote(server: RegistryServer) -> Iterator[sites.Remote]:
    """A registry with the images of `filled`, an index and an artifact."""
    add(server.content.store("ns/a"), OLD, "1")
    add(server.content.store("ns/a"), NEW, "2", "latest")
    add(server.content.store("ns/b"), OLD, "1")
    put(
        server.content.store("ns/b"),
        content.artifact("x", OLD.descriptor).pieces,
    )
    with RegistryClient() as client:
        yield sites.Remote(client, server.host)


def test_registry(
    remote: sites.Remote, server: RegistryServer, tmp_path: Path
) -> None:
    """Manifests are deleted by digest, with what refers to them."""
    result = prune(remote, tmp_path, f"{HOST}/ns/a:2")
    artifact = content.artifact("x", OLD.descriptor)
    own = (OLD.parts[1], OLD.parts[2])
    assert rows(result) == {
        ("ns/a", "1"): total(OLD.manifest, *own),
        ("ns/b", "1"): 0,
        ("ns/b", artifact.descriptor.digest): total(*artifact.pieces),
    }
    assert not result.collected
    deleted = server.requests("DELETE")
    assert len(deleted) == 3
    assert all("/manifests/sha256:" in request.path for request in deleted)
    # A tag alone cannot be removed everywhere, so it is left.
    assert list(server.content.store("ns/a").tags()) == ["2", "latest"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_lists_of_referrers_stay(
    server: RegistryServer, tmp_path: Path, algorithm: str
) -> None:
    """In a registry without an API for referrers the list of those of a kept
    image is kept under its tag; that of another image goes with it.
    """
    kept = content.image("kept", algorithm=algorithm)
    gone = content.image("gone", algorithm=algorithm)
    server.behaviour.referrers = False
    with RegistryClient() as client:
        store = client.store(server.host, "ns/a")
        for image, tag in ((kept, "1"), (gone, "2")):
            add(server.content.store("ns/a"), image, tag)
            artifact = content.artifact(tag, image.descriptor)
            put(store, artifact.pieces)
        assert len(list(store.tags())) == 4
        registry = sites.Remote(client, server.host)
        assert sites.found(registry) == set()
        prune(registry, tmp_path, f"{HOST}/ns/a:1")
        tags = ["1", referrers.tag_of(kept.descriptor.digest)]
        assert sorted(server.content.store("ns/a").tags()) == tags
        assert sites.found(registry) == set()


def test_registry_dry_run(
    remote: sites.Remote, server: RegistryServer, tmp_path: Path
) -> None:
    """A dry run gives the same rows and deletes nothing."""
    dry = prune(remote, tmp_path, f"{HOST}/ns/a:2", dry_run=True)
    assert not server.requests("DELETE")
    assert prune(remote, tmp_path, f"{HOST}/ns/a:2").rows == dry.rows


@pytest.mark.parametrize(("count", "read"), [(2, {"ns/a"}), (3, set())])
def test_ages_that_decide_nothing(
    remote: sites.Remote,
    server: RegistryServer,
    tmp_path: Path,
    count: int,
    read: set[str],
) -> None:
    """No config is read of a repository whose tags all stay."""
    prune(remote, tmp_path, keep_last=count, dry_run=True)
    paths = [request.path for request in server.requests("GET")]
    configs = [path for path in paths if "/blobs/" in path]
    assert {path[4:].partition("/blobs/")[0] for path in configs} == read


@pytest.mark.parametrize("dry_run", [True, False])
def test_tags_not_understood_are_left(
    remote: sites.Remote,
    server: RegistryServer,
    tmp_path: Path,
    *,
    dry_run: bool,
) -> None:
    """They are in no row, and a warning names each."""
    store = server.content.store("ns/a")
    old = content.schema1("old")
    store.push(old.descriptor, old.open())
    store.tag(old.descriptor, "s1")
    observer = Recorder()
    result = prune(
        remote, tmp_path, f"{HOST}/ns/a:2", dry_run=dry_run, observer=observer
    )
    assert ("ns/a", "1") in rows(result)
    assert ("ns/a", "s1") not in rows(result)
    assert "s1" in set(store.tags())
    assert result.kept == 3
    assert observer.warnings == [
        f"{server.host}/ns/a:s1: cannot be understood (unsupported), so it is"
        " left"
    ]


def test_registry_that_does_not_delete(
    remote: sites.Remote, server: RegistryServer, tmp_path: Path
) -> None:
    """The error says how a registry is set up to delete, and ends it."""
    for number in range(50):
        image = content.image(f"image-{number}")
        add(server.content.store("ns/c"), image, str(number))
    server.behaviour.deletes = False
    with pytest.raises(errors.Refused) as caught:
        prune(remote, tmp_path, f"{HOST}/ns/a:2")
    assert type(caught.value) is errors.Refused
    assert "DELETE_ENABLED" in str(caught.value.hint)
    assert len(server.requests("DELETE")) < 20


class Stubborn(MemoryStore):
    """Deletes one manifest, and no other."""

    def delete(self, descriptor) -> None:
        if descriptor == OLD.descriptor and self.repository == "ns/b":
            raise errors.ServerFault("out of order")
        super().delete(descriptor)
        if descriptor == NEW.descriptor:
            raise errors.NotFound("gone already")


class StubbornRegistry(MemoryRegistry):
    """Gives stores that stop half-way."""

    def store(self, repository: str) -> MemoryStore:
        return Stubborn(self, repository)


def test_tag_that_stays_with_its_image(tmp_path: Path) -> None:
    """A registry cannot remove a tag alone: it is left, and counted."""
    registry = MemoryRegistry()
    add(registry.store("ns/a"), OLD, "1", "other")
    add(registry.store("ns/a"), NEW, "2")
    result = prune(registry, tmp_path, f"{HOST}/ns/a:1")
    left = list(registry.store("ns/a").tags())
    assert (left, result.kept) == (["1", "other"], 2)


def test_registry_that_stops(tmp_path: Path) -> None:
    """The deleted images are reported, and why the rest was not deleted."""
    registry = StubbornRegistry()
    add(registry.store("ns/a"), OLD, "1")
    add(registry.store("ns/a"), NEW, "2")
    add(registry.store("ns/a"), content.image("kept"), "3")
    add(registry.store("ns/b"), OLD, "1", "other")
    result = prune(registry, tmp_path, f"{HOST}/ns/a:3")
    assert rows(result).keys() == {("ns/a", "1"), ("ns/a", "2")}
    assert list(map(str, result.failures)) == ["out of order"]


class Guarded(MemoryStore):
    """Refuses some deletions, as of immutable tags."""

    def __init__(self, home: GuardedRegistry, repository: str) -> None:
        super().__init__(home, repository)
        self._asked = home.asked

    def delete(self, descriptor) -> None:
        self._asked.append(descriptor)
        if self.repository == "ns/denied":
            raise errors.AccessDenied("ns/denied: access denied")
        if descriptor == INDEX.descriptor or descriptor == OLD.descriptor:
            raise errors.Refused(f"{self.repository}: immutable", status=409)
        super().delete(descriptor)


class GuardedRegistry(MemoryRegistry):
    """Gives stores that refuse some deletions.

    :ivar asked: what was to be deleted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Descriptor] = []

    def store(self, repository: str) -> MemoryStore:
        return Guarded(self, repository)


def test_refused_deletions(tmp_path: Path) -> None:
    """An image that is refused is left with those below it, and named."""
    registry = GuardedRegistry()
    for name in ("ns/a", "ns/b"):
        add(registry.store(name), OLD, "1")
        add(registry.store(name), NEW, "2")
    add(registry.store("ns/c"), INDEX, "1")
    put(registry.store("ns/c"), [*OLD.pieces, *NEW.pieces])
    add(registry.store("ns/d"), content.image("kept"), "3")
    # An image without a tag counts as no kept tag.
    put(registry.store("ns/e"), OLD.pieces)
    result = prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert rows(result).keys() == {("ns/a", "2"), ("ns/b", "2")}
    assert sorted(map(str, result.failures)) == [
        f"ns/{name}: immutable" for name in "abce"
    ]
    assert result.kept == 4
    assert registry.store("ns/c").exists(NEW.descriptor)


def test_refused_index_in_a_shared_repository(tmp_path: Path) -> None:
    """Only what is kept with a refused index stays, and no blob that it needs
    counts as freed.
    """
    registry = GuardedRegistry()
    store = registry.store("ns/a")
    signature = content.artifact("x", INDEX.descriptor)
    put(store, [*OLD.pieces, *NEW.pieces])
    add(store, INDEX, "1")
    put(store, signature.pieces)
    other = content.image("other", [LAYER, content.blob("other")])
    third = content.image("third")
    index = content.index({"linux/amd64": other, "linux/arm64": NEW})
    put(store, other.pieces)
    add(store, index, "2")
    add(store, third, "3")
    add(registry.store("ns/d"), content.image("kept"), "4")
    result = prune(registry, tmp_path, f"{HOST}/ns/d:4")
    assert rows(result) == {
        ("ns/a", "2"): total(index.manifest, other.manifest, *other.parts[1:]),
        ("ns/a", "3"): total(*third.pieces),
    }
    assert list(map(str, result.failures)) == ["ns/a: immutable"]
    pieces = (INDEX, OLD, NEW, signature, other, index, third)
    assert [store.exists(one.descriptor) for one in pieces] == [
        *[True] * 4,
        *[False] * 3,
    ]


def test_refused_image_keeps_its_artifacts(tmp_path: Path) -> None:
    """Its signatures, and those of its artifacts, are left with it."""
    registry = GuardedRegistry()
    store = registry.store("ns/a")
    sbom = content.artifact("sbom", OLD.descriptor)
    signature = content.artifact("signature", sbom.descriptor)
    tagged = content.image("tagged")
    add(store, OLD, "1")
    put(store, [*sbom.pieces, *signature.pieces])
    add(store, tagged, f"{referrers.tag_of(OLD.descriptor.digest)}.sig")
    add(store, NEW, "2")
    add(registry.store("ns/d"), content.image("kept"), "3")
    result = prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert rows(result).keys() == {("ns/a", "2")}
    kept = (OLD, sbom, signature, tagged)
    assert all(store.exists(one.descriptor) for one in kept)


def test_signatures_in_a_circle(tmp_path: Path) -> None:
    """Tags that make two images signatures of each other end nothing."""
    registry = GuardedRegistry()
    store = registry.store("ns/a")
    other = content.image("other")
    add(store, NEW, f"{referrers.tag_of(other.descriptor.digest)}.sig")
    add(store, other, f"{referrers.tag_of(NEW.descriptor.digest)}.sig")
    add(registry.store("ns/d"), content.image("kept"), "3")
    prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert not store.exists(NEW.descriptor)
    assert not store.exists(other.descriptor)


def test_only_refusals(tmp_path: Path) -> None:
    """All of them are named, and nothing was changed."""
    registry = GuardedRegistry()
    for name in ("ns/a", "ns/b", "ns/denied"):
        add(registry.store(name), OLD, "1")
    add(registry.store("ns/d"), content.image("kept"), "3")
    with pytest.raises(errors.CombinedFailure) as caught:
        prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert type(caught.value) is errors.CombinedFailure
    assert sorted(map(str, caught.value.failures)) == [
        "ns/a: immutable",
        "ns/b: immutable",
        "ns/denied: access denied",
    ]
    for name in ("ns/a", "ns/b", "ns/denied"):
        assert registry.store(name).resolve("1") == OLD.descriptor
        assert registry.store(name).holds(OLD.descriptor)


@pytest.mark.parametrize("image", [OLD, INDEX])
def test_an_image_that_stays_keeps_its_signature(
    image: content.Image, tmp_path: Path
) -> None:
    """An artifact is deleted only after the image that it is attached to."""
    registry = GuardedRegistry()
    store = registry.store("ns/a")
    add(store, image, "1")
    put(store, [*OLD.pieces, *NEW.pieces])
    signature = content.artifact("signature", image.descriptor)
    put(store, signature.pieces)
    add(registry.store("ns/b"), NEW, "2")
    add(registry.store("ns/d"), content.image("kept"), "3")
    result = prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert list(map(str, result.failures)) == ["ns/a: immutable"]
    assert store.exists(signature.descriptor)


class Hiding(MemoryStore):
    """Denies deletions as if there were nothing."""

    def delete(self, descriptor) -> None:
        raise errors.NotFound(f"{self.repository}: not found")


class HidingRegistry(MemoryRegistry):
    """Gives a store that hides what may not be deleted."""

    def store(self, repository: str) -> MemoryStore:
        kind = Hiding if repository == "ns/hidden" else MemoryStore
        return kind(self, repository)


def test_denials_that_say_not_found(tmp_path: Path) -> None:
    """Content that is still there is left, whatever the registry says."""
    registry = HidingRegistry()
    add(registry.store("ns/hidden"), INDEX, "1")
    put(registry.store("ns/hidden"), [*OLD.pieces, *NEW.pieces])
    add(registry.store("ns/b"), NEW, "2")
    add(registry.store("ns/d"), content.image("kept"), "3")
    result = prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert rows(result).keys() == {("ns/b", "2")}
    assert list(map(str, result.failures)) == ["ns/hidden: not found"]
    assert result.kept == 2


def test_repositories_of_others(tmp_path: Path) -> None:
    """A repository without access is tried once, and others are pruned."""
    registry = GuardedRegistry()
    for number in range(20):
        image = content.image(f"image-{number}")
        add(registry.store("ns/denied"), image, str(number))
    add(registry.store("ns/a"), NEW, "2")
    add(registry.store("ns/d"), content.image("kept"), "3")
    result = prune(registry, tmp_path, f"{HOST}/ns/d:3")
    assert rows(result).keys() == {("ns/a", "2")}
    assert list(map(str, result.failures)) == ["ns/denied: access denied"]
    assert len(registry.asked) < 10
