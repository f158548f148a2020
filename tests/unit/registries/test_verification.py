"""The findings of `registries.verification`."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.host.directory import Directory
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.registries.verification import BlobCheck
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from tests import tripleo_tree
from tests.recorder import Recorder
from tests.trees import OnDisk
from tests.unit.registries import sites

LAYER = content.blob("layer")
IMAGE = content.image("image", [LAYER, content.blob("own")])
OTHER = content.image("other", [LAYER, content.blob("else")])
CHILDREN = {p: content.image(p) for p in ("linux/amd64", "linux/arm64")}
INDEX = content.index(CHILDREN)
ARTIFACT = content.artifact("sbom", IMAGE.descriptor)
DIGEST = IMAGE.descriptor.digest


def claiming(layer: bytes, unpacked: bytes) -> content.Image:
    """An image whose config claims the diff ID of some bytes."""
    config = json.dumps({"rootfs": {"diff_ids": [digests.of(unpacked)]}})
    return content.image(
        "claiming",
        [content.piece(layer, mediatypes.OCI_LAYER_GZIP)],
        config=content.piece(config.encode(), mediatypes.OCI_CONFIG),
    )


@pytest.mark.parametrize("blobs", BlobCheck)
def test_diff_ids(tree: ImageServeTree, blobs: BlobCheck) -> None:
    """An image is named whose layer is not the one that its config names;
    an image that has the same layer and says so is right.
    """
    evil = gzip.compress(b"evil")
    sites.add(tree.store("ns/a"), claiming(evil, b"good"), "bad")
    sites.add(tree.store("ns/a"), claiming(evil, b"evil"), "good")
    sites.put(tree.store("ns/a"), ARTIFACT.pieces)
    found = sites.verify(tree, blobs=blobs, diff_ids=True)
    (problem,) = (p for p in found.problems if p.problem == "other diff ID")
    assert problem.name == claiming(evil, b"good").descriptor.digest
    assert (problem.repository, problem.tags) == ("ns/a", ("bad",))


@pytest.fixture
def filled(tree: ImageServeTree) -> ImageServeTree:
    """An image with an artifact, an index, and an image that shares."""
    sites.add(tree.store("ns/a"), IMAGE, "1", "2")
    sites.add(tree.store("ns/a"), INDEX, "index")
    sites.put(tree.store("ns/a"), ARTIFACT.pieces)
    sites.add(tree.store("ns/b"), OTHER, "1")
    return tree


def paths(tree: ImageServeTree, repository: str = "ns/a"):
    return OnDisk(tree.store(repository))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    # In place: the file may have other names.
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def break_catalog(tree: ImageServeTree) -> set[tuple[str, ...]]:
    (tree.path / "v2/_catalog").write_text('{"repositories": ["x", "ns/b"]}')
    return {("", "x", "listed but absent"), ("", "ns/a", "not listed")}


def break_catalog_text(tree: ImageServeTree) -> set[tuple[str, ...]]:
    (tree.path / "v2/_catalog").write_text("[]")
    return {("", "v2/_catalog", "corrupt")}


def remove_catalog(tree: ImageServeTree) -> set[tuple[str, ...]]:
    (tree.path / "v2/_catalog").unlink()
    return {("", "v2/_catalog", "missing")}


def remove_base(tree: ImageServeTree) -> set[tuple[str, ...]]:
    (tree.path / "v2/index.json").unlink()
    return {("", "v2/index.json", "missing")}


def flip_shared_blob(tree: ImageServeTree) -> set[tuple[str, ...]]:
    digest = LAYER.descriptor.digest
    flip(paths(tree).blob(digest))
    return {(name, digest, "corrupt") for name in ("ns/a", "ns/b")}


def truncate_blob(tree: ImageServeTree) -> set[tuple[str, ...]]:
    digest = IMAGE.parts[1].descriptor.digest
    os.truncate(paths(tree).blob(digest), 10)
    return {("ns/a", digest, "wrong size")}


def remove_blob(tree: ImageServeTree) -> set[tuple[str, ...]]:
    digest = LAYER.descriptor.digest
    paths(tree).blob(digest).unlink()
    return {("ns/a", digest, "missing")}


def link_blob(tree: ImageServeTree) -> set[tuple[str, ...]]:
    digest = LAYER.descriptor.digest
    path = paths(tree).blob(digest)
    path.unlink()
    path.symlink_to(paths(tree, "ns/b").blob(digest))
    return {
        ("ns/a", digest, "missing"),
        ("ns/a", f"blobs/{digest}", "not content"),
    }


def add_stray_blob(tree: ImageServeTree) -> set[tuple[str, ...]]:
    stray = content.blob("stray")
    sites.put(tree.store("ns/a"), [stray])
    return {("ns/a", stray.descriptor.digest, "unreferenced")}


def add_repository_of_blobs(tree: ImageServeTree) -> set[tuple[str, ...]]:
    stray = content.blob("stray")
    sites.put(tree.store("gone"), [stray])
    return {("gone", stray.descriptor.digest, "unreferenced")}


def add_stray_files(tree: ImageServeTree) -> set[tuple[str, ...]]:
    (paths(tree).blobs / "partial").touch()
    (paths(tree).manifests / ".x").touch()
    return {
        ("ns/a", "blobs/partial", "not content"),
        ("ns/a", "manifests/.x", "not content"),
    }


def flip_manifest(tree: ImageServeTree) -> set[tuple[str, ...]]:
    path = paths(tree, "ns/b").manifest(OTHER.descriptor.digest)
    rewrite(path, lambda text: text.replace("schemaVersion", "schemaversion"))
    # Nobody knows which blobs it names, so none is unreferenced.
    return {("ns/b", OTHER.descriptor.digest, "corrupt")}


def remove_manifest(tree: ImageServeTree) -> set[tuple[str, ...]]:
    home = paths(tree, "ns/b").manifest_directory(OTHER.descriptor.digest)
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    blobs = {p.descriptor.digest for p in OTHER.parts}
    return {("ns/b", "1", "missing")} | {
        ("ns/b", blob, "unreferenced") for blob in blobs
    }


def empty_manifest(tree: ImageServeTree) -> set[tuple[str, ...]]:
    home = paths(tree).manifest_directory(f"sha256:{'0' * 64}")
    home.mkdir()
    return {("ns/a", home.name, "incomplete")}


def remove_child(tree: ImageServeTree) -> set[tuple[str, ...]]:
    child = CHILDREN["linux/arm64"]
    home = paths(tree).manifest_directory(child.descriptor.digest)
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    blobs = {p.descriptor.digest for p in child.parts}
    return {("ns/a", blob, "unreferenced") for blob in blobs}


def remove_headers(tree: ImageServeTree) -> set[tuple[str, ...]]:
    paths(tree).htaccess(DIGEST).unlink()
    return {("ns/a", DIGEST, "no headers")}


def break_header_type(tree: ImageServeTree) -> set[tuple[str, ...]]:
    rewrite(
        paths(tree).htaccess(DIGEST),
        lambda text: text.replace("image.manifest", "image.index"),
    )
    return {("ns/a", DIGEST, "wrong headers")}


def break_header_digest(tree: ImageServeTree) -> set[tuple[str, ...]]:
    rewrite(
        paths(tree).htaccess(DIGEST),
        lambda text: text.replace(DIGEST, INDEX.descriptor.digest),
    )
    return {("ns/a", DIGEST, "wrong headers")}


def break_type_map(tree: ImageServeTree) -> set[tuple[str, ...]]:
    paths(tree).type_map("2").write_text("URI: 2\n")
    return {("ns/a", "2", "corrupt")}


def break_type_map_type(tree: ImageServeTree) -> set[tuple[str, ...]]:
    rewrite(
        paths(tree).type_map("2"),
        lambda text: text.replace("image.manifest", "image.index"),
    )
    return {("ns/a", "2", "wrong type")}


def break_fallback(tree: ImageServeTree) -> set[tuple[str, ...]]:
    child, gone = (
        CHILDREN["linux/amd64"].descriptor.digest,
        "sha256:" + "1" * 64,
    )
    rewrite(
        paths(tree).type_map("index"), lambda text: text.replace(child, gone)
    )
    return {("ns/a", gone, "missing")}


def stale_list(tree: ImageServeTree) -> set[tuple[str, ...]]:
    document = {"name": "ns/a", "tags": ["1", "index", "old"]}
    paths(tree).tags_list.write_text(json.dumps(document))
    return {("ns/a", "old", "listed but absent"), ("ns/a", "2", "not listed")}


def break_list(tree: ImageServeTree) -> set[tuple[str, ...]]:
    paths(tree).tags_list.write_text('{"name": "ns/b", "tags": []}')
    return {("ns/a", "tags/list", "corrupt")}


def remove_list(tree: ImageServeTree) -> set[tuple[str, ...]]:
    paths(tree).tags_list.unlink()
    return {("ns/a", "tags/list", "missing")}


def remove_referrers(tree: ImageServeTree) -> set[tuple[str, ...]]:
    paths(tree).referrers_of(DIGEST).unlink()
    return {("ns/a", ARTIFACT.descriptor.digest, "not listed")}


def break_referrers(tree: ImageServeTree) -> set[tuple[str, ...]]:
    paths(tree).referrers_of(DIGEST).write_text("{}")
    return {
        ("ns/a", f"referrers/{DIGEST}", "corrupt"),
        ("ns/a", ARTIFACT.descriptor.digest, "not listed"),
    }


def false_referrers(tree: ImageServeTree) -> set[tuple[str, ...]]:
    gone = Descriptor.of(b"gone", mediatypes.OCI_MANIFEST)
    rewrite(
        paths(tree).referrers_of(DIGEST),
        lambda text: json.dumps(
            {
                **json.loads(text),
                "manifests": [ARTIFACT.descriptor.to_json(), gone.to_json()],
            }
        ),
    )
    return {("ns/a", gone.digest, "listed but absent")}


def remove_referrers_headers(tree: ImageServeTree) -> set[tuple[str, ...]]:
    (paths(tree).referrers / ".htaccess").unlink()
    return {("ns/a", "referrers/.htaccess", "missing")}


DEFECTS = (
    break_catalog,
    break_catalog_text,
    remove_catalog,
    remove_base,
    flip_shared_blob,
    truncate_blob,
    remove_blob,
    link_blob,
    add_stray_blob,
    add_repository_of_blobs,
    add_stray_files,
    flip_manifest,
    remove_manifest,
    empty_manifest,
    remove_child,
    remove_headers,
    break_header_type,
    break_header_digest,
    break_type_map,
    break_type_map_type,
    break_fallback,
    stale_list,
    break_list,
    remove_list,
    remove_referrers,
    break_referrers,
    false_referrers,
    remove_referrers_headers,
)


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_each_defect_is_found(
    filled: ImageServeTree,
    plant: Callable[[ImageServeTree], set[tuple[str, ...]]],
) -> None:
    """The damage is named, and nothing else is."""
    expected = plant(filled)
    assert sites.found(filled) == expected


def test_tags_that_need_it(filled: ImageServeTree) -> None:
    """A problem says which tags it breaks."""
    digest = LAYER.descriptor.digest
    paths(filled).blob(digest).unlink()
    (problem,) = sites.verify(filled).problems
    assert problem.tags == ("1", "2")


def test_counts(filled: ImageServeTree) -> None:
    """The verdict says how much was looked at."""
    verdict = sites.verify(filled)
    assert (verdict.repositories, verdict.tags) == (2, 4)
    assert verdict.manifests == 6
    blobs = {
        p.descriptor.digest: p.descriptor.size
        for image in (IMAGE, INDEX, ARTIFACT, OTHER)
        for p in image.parts
        if not p.descriptor.is_manifest
    }
    assert (verdict.blobs, verdict.size) == (len(blobs), sum(blobs.values()))


def test_sparse_index(tree: ImageServeTree) -> None:
    """An index with one of its images is right; the others are counted."""
    store = tree.store("ns/a")
    sites.put(store, CHILDREN["linux/amd64"].pieces)
    sites.put(store, [INDEX.manifest])
    store.tag(INDEX.descriptor, "1")
    verdict = sites.verify(tree)
    assert (verdict.problems, verdict.elsewhere) == ([], 1)


def test_index_without_images(tree: ImageServeTree) -> None:
    """An index with none of its images is broken."""
    store = tree.store("ns/a")
    sites.put(store, [INDEX.manifest])
    store.tag(INDEX.descriptor, "1")
    assert sites.found(tree) == {
        ("ns/a", child.descriptor.digest, "missing")
        for child in CHILDREN.values()
    }


def test_untagged_manifest(filled: ImageServeTree) -> None:
    """A manifest without a tag may be used by its digest: it is right."""
    sites.add(filled.store("ns/b"), content.image("untagged"))
    assert sites.found(filled) == set()


@pytest.mark.parametrize(
    "write", [tripleo_tree.write, tripleo_tree.write_with_link]
)
def test_predecessors_tree(
    tree: ImageServeTree, write: Callable[..., None]
) -> None:
    """A tree of the predecessor is right as it is."""
    write(tree.path, "ns/a", content.image("x", docker=True), "1")
    assert sites.found(tree) == set()


def test_quick_reads_no_blob(filled: ImageServeTree) -> None:
    """A quick look finds what is absent or short, and reads no blob."""
    flip(paths(filled).blob(LAYER.descriptor.digest))
    expected = truncate_blob(filled)
    notes = Recorder()
    verdict = sites.verify(filled, blobs=BlobCheck.SIZES, observer=notes)
    assert {
        (p.repository, p.name, p.problem) for p in verdict.problems
    } == expected
    assert notes.copied == 0


def test_while_a_run_writes(filled: ImageServeTree) -> None:
    """Content that a run will name is no problem; a warning says so."""
    add_stray_blob(filled)
    notes = Recorder()
    other = ImageServeTree(filled.path)
    with other.lock(lambda what: None):
        assert sites.verify(filled, observer=notes).problems == []
    (warning,) = notes.warnings
    assert f"a run writes to image-serve:{filled.path} (process" in warning


def test_memory() -> None:
    """A registry that cannot be looked through is asked."""
    registry = MemoryRegistry()
    store = registry.store("ns/a")
    sites.add(store, IMAGE, "1")
    store.delete(LAYER.descriptor)
    assert sites.found(registry) == {
        ("ns/a", LAYER.descriptor.digest, "missing")
    }


def test_index_of_other_content(tree: ImageServeTree) -> None:
    """An index may name more than manifests, by the specification."""
    layer = content.blob("x")
    index = content.index({"linux/amd64": content.Image(layer, ())})
    store = tree.store("ns/a")
    sites.put(store, [layer, index.manifest])
    store.tag(index.descriptor, "1")
    notes = Recorder()
    assert not sites.found(tree, observer=notes)
    (warning,) = notes.warnings
    assert warning.endswith(f"ns/a@{layer.descriptor.digest}")


def test_unreadable(filled: ImageServeTree, monkeypatch) -> None:
    """Files that may not be read are told as such, not as broken."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "blob")

    monkeypatch.setattr(Directory, "open_regular", refuse)
    with pytest.raises(errors.AccessDenied):
        sites.verify(filled)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """A registry with the image as the tag 1."""
    with RegistryServer() as server:
        sites.add(server.content.store("ns/a"), IMAGE, "1")
        yield server


@pytest.fixture
def remote(server: RegistryServer) -> Iterator[sites.Remote]:
    """The same, as a client that tries three times sees it."""
    policy = RetryPolicy(attempts=3, base=0.001)
    with RegistryClient(policy=policy) as client:
        yield sites.Remote(client, server.host)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/manifests/1", "1"),
        (LAYER.descriptor.digest, LAYER.descriptor.digest),
    ],
)
def test_attempts_at_what_fails(
    server: RegistryServer, remote: sites.Remote, path: str, name: str
) -> None:
    """A request that a registry fails is repeated by one set of attempts."""
    server.fail("GET", path, status=500, times=None)
    assert sites.found(remote) == {("ns/a", name, "unreadable")}
    # The request that is sent ahead is not counted.
    assert len(server.requests("GET", path)) <= 4


@pytest.mark.parametrize("status", [200, 204, 401, 403, 405, 500])
def test_no_list_of_referrers(
    server: RegistryServer, remote: sites.Remote, status: int
) -> None:
    """A registry without the list is verified, and a warning told.

    Harbor gives an empty object for what it has in a cache only.
    """
    notes = Recorder()
    sites.add(server.content.store("ns/b"), IMAGE, "1")
    server.fail("GET", "/referrers/", status=status, body=b"{}", times=None)
    assert not sites.verify(remote, observer=notes).problems
    (warning,) = notes.warnings
    assert "that only such a list names are left out in 2 of 2" in warning


def _schema_1(server: RegistryServer) -> str:
    store, old = server.content.store("ns/a"), content.schema1("old")
    store.push(old.descriptor, old.open())
    store.tag(old.descriptor, "s1")
    return ":s1"


def _signature_of_notation(server: RegistryServer) -> str:
    """Its list has a manifest of a type of its own."""
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    digest = content.blob("signature").descriptor.digest
    entry = {"mediaType": kind, "digest": digest, "size": 9}
    body = json.dumps({"manifests": [entry]}).encode()
    server.fail("GET", "/referrers/", body=body, times=None)
    return f"@{digest}"


@pytest.mark.parametrize("fill", [_schema_1, _signature_of_notation])
def test_other_kinds_of_manifests(
    server: RegistryServer,
    remote: sites.Remote,
    fill: Callable[[RegistryServer], str],
) -> None:
    """What is only not supported is no problem, and a warning names it."""
    notes = Recorder()
    name = fill(server)
    assert not sites.verify(remote, observer=notes).problems
    (warning,) = notes.warnings
    assert "are not verified: 1, the first" in warning
    assert warning.endswith(f"the first is {server.host}/ns/a{name}")


def test_list_of_referrers_that_breaks_off(
    server: RegistryServer, remote: sites.Remote
) -> None:
    """A list whose next page is elsewhere is a problem, and no warning."""
    notes = Recorder()
    link = {"Link": "<https://elsewhere.example.com/>; rel=next"}
    server.fail("GET", "/referrers/", headers=link, times=None)
    problem = ("ns/a", f"referrers/{DIGEST}", "corrupt")
    assert sites.found(remote, observer=notes) == {problem}
    assert not notes.warnings


def test_damaged_content_that_becomes_unreadable(
    server: RegistryServer, remote: sites.Remote
) -> None:
    """A second look that finds another problem takes none back."""
    server.fail("GET", "/manifests/", corrupt=5, times=4)
    server.fail("GET", "/manifests/", status=500, times=None)
    assert sites.found(remote) == {("ns/a", "1", "unreadable")}


class Changing(MemoryRegistry):
    """Mends an image, and damages another, before a second look."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def store(self, repository: str) -> MemoryStore:
        return ChangingStore(self, repository)


class ChangingStore(MemoryStore):
    """A store of `Changing`; its tags are listed once a look."""

    def __init__(self, home: Changing, repository: str) -> None:
        super().__init__(home, repository)
        self._registry = home

    def tags(self) -> Iterator[str]:
        self._registry.looks += 1
        if self._registry.looks == 2:
            sites.put(self, IMAGE.parts)
            self.delete(OTHER.parts[1].descriptor)
        return super().tags()


def test_content_that_is_damaged_after_the_first_look() -> None:
    """A second look only confirms what the first has found."""
    registry = Changing()
    store = registry.store("ns/a")
    sites.add(store, IMAGE, "1")
    sites.add(store, OTHER, "2")
    store.delete(IMAGE.parts[1].descriptor)
    assert not sites.verify(registry, blobs=BlobCheck.SIZES).problems
    assert registry.looks == 2


@pytest.mark.parametrize(
    ("method", "fault"),
    [("", {"status": 500}), ("GET", {"truncate": 0})],
    ids=["a broken link", "known to a cache only"],
)
def test_blobs_that_a_registry_lost(
    server: RegistryServer,
    remote: sites.Remote,
    method: str,
    fault: dict[str, Any],
) -> None:
    """That is a problem of this blob, and the rest is read.

    distribution fails at a blob with a broken link; it begins to send what
    only its cache knows, and sends nothing.
    """
    digest = LAYER.descriptor.digest
    server.fail(method, digest, times=None, **fault)
    assert sites.found(remote) == {("ns/a", digest, "unreadable")}


@pytest.mark.parametrize("urls", [(), ("https://example.com/layer",)])
def test_nondistributable_layers(
    tree: ImageServeTree, urls: tuple[str, ...]
) -> None:
    """Such a layer is missing only when no URL has it."""
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    layer = content.blob("w", 10, kind)
    described = dataclasses.replace(layer.descriptor, urls=urls)
    image = content.image("w", [content.Piece(described, layer.data)])
    store = tree.store("ns/w")
    sites.add(store, image, "1")
    assert sites.found(tree) == set()
    store.delete(layer.descriptor)
    lost = {("ns/w", layer.descriptor.digest, "missing")}
    assert sites.found(tree) == (set() if urls else lost)
