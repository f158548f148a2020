"""The sample images that other tests, benchmarks and the demo use."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.stores.base import Store
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.testing import images

NAMES = {f"ns/sample-{number:02}": ("current",) for number in range(86)}


def bytes_of(blob: images.Blob) -> bytes:
    with blob.open() as content:
        return content.read()


@pytest.fixture(scope="module")
def sample() -> images.ImageSet:
    return images.overcloud(NAMES, unique_bytes=1024 * 1024)


def test_overcloud_has_the_shape_of_a_measured_one(
    sample: images.ImageSet,
) -> None:
    """86 images have 208 blobs, and 13 to 15 times their unique bytes."""
    assert len(sample.images) == 86
    assert len(sample.blobs) == 208
    layers = [
        blob.descriptor.size
        for blob in sample.blobs.values()
        if blob.descriptor.media_type == images.OCI.layer
    ]
    assert sum(layers) == pytest.approx(1024 * 1024, rel=0.25)
    assert 10 < sample.naive_bytes / sample.unique_bytes < 15


def test_same_seed_gives_the_same_digests(sample: images.ImageSet) -> None:
    """Two runs of a benchmark copy the same images."""
    again = images.overcloud(NAMES, unique_bytes=1024 * 1024)
    assert [i.descriptor for i in again.images] == [
        i.descriptor for i in sample.images
    ]


def test_another_seed_gives_other_layers(sample: images.ImageSet) -> None:
    """Sets of different seeds share no blob."""
    other = images.overcloud(NAMES, unique_bytes=1024 * 1024, seed="other")
    assert not set(other.blobs) & set(sample.blobs)


def test_blobs_are_what_their_descriptors_say(sample: images.ImageSet) -> None:
    """Every blob has the digest and the size that manifests promise."""
    for blob in sample.blobs.values():
        content = bytes_of(blob)
        assert digests.of(content) == blob.descriptor.digest
        assert len(content) == blob.descriptor.size


def test_a_blob_can_be_read_in_small_pieces() -> None:
    """The stream gives the same bytes however it is read."""
    blob = images.random_image("pieces", layers=1, size=3000).blobs[-1]
    with blob.open() as content:
        pieces = list(iter(lambda: content.read(7), b""))
    assert b"".join(pieces) == bytes_of(blob)


def test_layers_are_gzipped_tars_of_one_file() -> None:
    """Container tools can unpack a layer; its config has the tar's digest."""
    config, layer = images.random_image("tar", layers=1, size=5000).blobs
    plain = gzip.decompress(bytes_of(layer))
    diff_ids = json.loads(bytes_of(config))["rootfs"]["diff_ids"]
    assert diff_ids == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        (member,) = archive.getmembers()
    assert (member.size, member.mtime) == (5000, 0)


def test_labels_are_in_the_config() -> None:
    """Discovery finds the labels that the caller gave."""
    image = images.random_image("label", labels={"rdo_version": "abc"})
    config = json.loads(bytes_of(image.blobs[0]))
    assert config["config"]["Labels"] == {
        "name": "sample/image",
        "rdo_version": "abc",
    }


def test_docker_form_has_docker_media_types() -> None:
    """An image can be made as docker pushes it."""
    image = images.random_image("docker", layers=1, form=images.DOCKER)
    types = [blob.descriptor.media_type for blob in image.blobs]
    assert image.descriptor.media_type == images.DOCKER.manifest
    assert types == [images.DOCKER.config, images.DOCKER.layer]


def test_several_platforms_make_an_index() -> None:
    """The tags then name an index with one entry per platform."""
    image = images.random_image(
        "multi", platforms=(images.AMD64, images.ARM64)
    )
    index = image.manifests[-1]
    assert index.descriptor == image.descriptor
    assert index.is_index
    assert [entry.platform for entry in index.manifests] == [
        images.AMD64,
        images.ARM64,
    ]


def test_signature_refers_to_the_image() -> None:
    """A signature is a referrer; the tags still name the image."""
    image = images.random_image("signed", signed=True)
    signature = image.manifests[-1]
    assert signature.subject == image.descriptor
    assert signature.artifact_type == images.SIGNATURE
    assert image.manifests[-2].descriptor == image.descriptor


def test_write_fills_a_registry() -> None:
    """Every image is whole under each of its tags."""
    registry = MemoryRegistry()
    sample = images.overcloud(
        {"a/one": ("x", "y"), "a/two": ("x",)}, unique_bytes=50_000
    )
    images.write(sample.images, registry.store)
    for image in sample.images:
        store = registry.store(image.repository)
        for tag in image.tags:
            assert store.resolve(tag) == image.descriptor
        assert store.holds(image.descriptor)


def test_write_needs_no_mount() -> None:
    """A store without the power to mount is given every blob."""

    class Plain:
        """Only what every store must have."""

        def __init__(self, store: Store) -> None:
            self.registry = store.registry
            self.repository = store.repository
            self.resolve = store.resolve
            self.exists = store.exists
            self.fetch = store.fetch
            self.push = store.push
            self.tag = store.tag

    registry = MemoryRegistry()
    sample = images.overcloud(
        {"a/one": ("x",), "a/two": ("x",)}, unique_bytes=50_000
    )
    images.write(sample.images, lambda name: Plain(registry.store(name)))
    for image in sample.images:
        assert registry.store(image.repository).holds(image.descriptor)
