"""Walking what an image consists of."""

from __future__ import annotations

import dataclasses
import json

import pytest

from imageprep_client import errors
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores import memory
from imageprep_client.testing import content
from imageprep_client.testing.streams import push
from imageprep_client.transfer import graph


@pytest.fixture
def store() -> memory.MemoryStore:
    return memory.MemoryRegistry().store("a")


def index_of(*children: Descriptor) -> content.Piece:
    data = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [child.to_json() for child in children],
        }
    ).encode()
    return content.piece(data, mediatypes.OCI_INDEX)


def nested(store: memory.MemoryStore, levels: int) -> Descriptor:
    image = content.image("x")
    push(store, *image.pieces)
    piece = image.manifest
    for _ in range(levels):
        piece = index_of(piece.descriptor)
        push(store, piece)
    return piece.descriptor


def test_children_come_first(store):
    """Every manifest stands behind those that it names."""
    index = content.index(
        {"linux/amd64": content.image("x"), "linux/arm64": content.image("y")}
    )
    push(store, *index.pieces)
    found = graph.walk(store, index.descriptor)
    assert found.root.descriptor == index.descriptor
    assert len(found.manifests) == 3
    assert {b.digest for b in found.blobs} == {
        p.descriptor.digest
        for p in index.parts
        if not p.descriptor.is_manifest
    }
    assert found.size == sum(p.descriptor.size for p in index.pieces)


def test_nested_indexes_are_walked(store):
    """An index of an index is within bounds."""
    assert len(graph.walk(store, nested(store, 3)).manifests) == 4


def test_too_deep(store):
    """Indexes nested past the bound are refused."""
    with pytest.raises(errors.InvalidContent, match="nested deeper"):
        graph.walk(store, nested(store, 5))


def test_too_many(store, monkeypatch):
    """More manifests than any image has are refused."""
    monkeypatch.setattr(graph, "_MAX_MANIFESTS", 3)
    images = [content.image(n) for n in range(5)]
    for image in images:
        push(store, *image.pieces)
    index = index_of(*(i.descriptor for i in images))
    push(store, index)
    with pytest.raises(errors.InvalidContent, match="more than 3 manifests"):
        graph.walk(store, index.descriptor)


def test_too_large(store, monkeypatch):
    """Manifests that are too much together are refused, the last unread."""
    images = [content.image(n) for n in range(3)]
    sizes = [i.descriptor.size for i in images]
    for image in images[:2]:
        push(store, *image.pieces)
    index = index_of(*(i.descriptor for i in images))
    push(store, index)
    monkeypatch.setattr(graph, "MAX_BYTES", sum(sizes) - 1)
    with pytest.raises(errors.InvalidContent, match="bytes of manifests"):
        graph.walk(store, index.descriptor)


def test_repeated_children_are_walked_once(store):
    """Indexes that name the same again and again take no longer for it."""
    image = content.image("x")
    push(store, *image.pieces)
    piece = image.manifest
    for _ in range(3):
        piece = index_of(*[piece.descriptor] * 1000)
        push(store, piece)
    assert len(graph.walk(store, piece.descriptor).manifests) == 4
    assert store.holds(piece.descriptor)


def test_child_named_twice_is_walked_once(store):
    """The same child under two platforms is stored once."""
    image = content.image("x")
    index = index_of(image.descriptor, image.descriptor)
    push(store, *image.pieces, index)
    assert len(graph.walk(store, index.descriptor).manifests) == 2


def test_child_that_is_no_manifest(store):
    """An index that names a blob as a child is refused."""
    index = index_of(content.blob("b").descriptor)
    push(store, index)
    with pytest.raises(
        errors.InvalidContent, match="which is no manifest"
    ) as caught:
        graph.walk(store, index.descriptor)
    assert "multi_arch" in str(caught.value.hint)


def test_child_of_an_unknown_type_is_not_looked_for(store):
    """Where a registry keeps it is not known; the images are looked for."""
    image = content.image("x")
    index = index_of(image.descriptor, content.blob("b").descriptor)
    push(store, index)
    assert not graph.has_images(store, index.descriptor)
    push(store, *image.pieces)
    assert graph.has_images(store, index.descriptor)


def test_oversized_manifest_is_not_fetched(store):
    """A descriptor that promises too much is refused unread."""
    huge = Descriptor(mediatypes.OCI_MANIFEST, "sha256:" + "0" * 64, 2**40)
    with pytest.raises(errors.InvalidContent, match="over"):
        graph.fetch_manifest(store, huge)


def test_choose_lists_what_there_is():
    """No image for the platform: the error names those that there are."""
    index = content.index(
        {"linux/s390x": content.image("x"), "linux/arm64": content.image("y")}
    )
    parsed = manifests.parse(index.manifest.data, index.descriptor.media_type)
    with pytest.raises(errors.NotFound, match="linux/s390x, linux/arm64"):
        graph.choose(parsed, Platform("linux", "amd64"))


def test_choose_takes_the_only_child(store):
    """An index of one image stands for that image."""
    index = index_of(content.image("x").descriptor)
    parsed = manifests.parse(index.data, mediatypes.OCI_INDEX)
    assert (
        graph.choose(parsed, Platform("linux", "amd64"))
        == content.image("x").descriptor
    )


def test_choose_takes_no_artifact():
    """A child without a platform may be an artifact beside the images."""
    image = content.image("one").descriptor
    amd64 = dataclasses.replace(image, platform=Platform.parse("linux/amd64"))
    other = content.image("other").descriptor
    index = index_of(amd64, other)
    parsed = manifests.parse(index.data, mediatypes.OCI_INDEX)
    with pytest.raises(errors.NotFound, match="only for linux/amd64"):
        graph.choose(parsed, Platform.parse("linux/arm64"))


def test_choose_takes_the_only_child_without_a_platform():
    """An attestation next to it names a platform, though an unknown one."""
    image = content.image("x").descriptor
    attestation = dataclasses.replace(
        content.image("attestation").descriptor,
        platform=Platform("unknown", "unknown"),
    )
    index = index_of(attestation, image)
    parsed = manifests.parse(index.data, mediatypes.OCI_INDEX)
    assert graph.choose(parsed, Platform("linux", "amd64")) == image


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("mystery", "amd64")],
)
def test_host_platform(monkeypatch, machine, architecture):
    """The host's machine name is translated to an architecture."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert graph.host_platform().architecture == architecture


def test_only_some_platforms(store):
    """The index stays as it is; children for other platforms are left."""
    children = {p: content.image(p) for p in ("linux/amd64", "linux/arm64/v8")}
    index = content.index(children)
    push(store, *index.pieces)
    arm = Platform("linux", "arm64")
    found = graph.walk(store, index.descriptor, graph.SomePlatforms((arm,)))
    assert [m.descriptor for m in found.manifests] == [
        children["linux/arm64/v8"].descriptor,
        index.descriptor,
    ]


def test_only_platforms_that_are_not_there(store):
    """An index without any of the platforms is not copied empty."""
    index = content.index({"linux/amd64": content.image("x")})
    push(store, *index.pieces)
    with pytest.raises(errors.NotFound, match="no image for linux/s390x"):
        graph.walk(
            store,
            index.descriptor,
            graph.SomePlatforms((Platform("linux", "s390x"),)),
        )


def test_only_platforms_of_a_plain_image(store):
    """An image that is no index is for whatever it is for."""
    image = content.image("x")
    push(store, *image.pieces)
    found = graph.walk(
        store,
        image.descriptor,
        graph.SomePlatforms((Platform("linux", "s390x"),)),
    )
    assert found.root.descriptor == image.descriptor


def test_missing_attestations(store: memory.MemoryStore) -> None:
    """An attestation that is not there is told as such, with what to do."""
    absent = Descriptor(
        mediatypes.OCI_MANIFEST,
        f"sha256:{'a' * 64}",
        500,
        Platform("unknown", "unknown"),
    )
    index = index_of(absent)
    push(store, index)
    with pytest.raises(errors.NotFound) as caught:
        graph.walk(store, index.descriptor)
    assert "an attestation" in str(caught.value.hint)
