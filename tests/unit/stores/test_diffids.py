"""Layers that are, and are not, what the config of their image says."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import json
import lzma
import sys
from collections.abc import Sequence
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores.diffids import DiffIdCheck
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content
from imageprep_client.testing.streams import put

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TAR = b"tar" * 1000
OTHER = b"rat" * 1000
#: A frame that readers of zstd skip, as zstd:chunked appends them.
SKIPPED = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def diff_id(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of an unpacked layer."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@pytest.fixture
def store() -> MemoryStore:
    """An empty repository."""
    return MemoryRegistry().store("ns/nova")


def image(
    store: MemoryStore,
    layers: Sequence[bytes],
    config: str,
    *,
    config_type: str = mediatypes.OCI_CONFIG,
    urls: tuple[str, ...] = (),
) -> Manifest:
    """Store an image, as the tag 1.

    :param config: its JSON.
    :param urls: of each layer in the manifest.
    """
    pieces = [content.piece(x, mediatypes.OCI_LAYER_GZIP) for x in layers]
    made = content.image(
        "x",
        [
            content.Piece(dataclasses.replace(p.descriptor, urls=urls), p.data)
            for p in pieces
        ],
        config=content.piece(config.encode(), config_type),
    )
    put(store, made, "1")
    return manifests.parse(made.manifest.data, mediatypes.OCI_MANIFEST)


def claims(*layers: bytes) -> str:
    """A config with the diff IDs of these unpacked layers."""
    return json.dumps({"rootfs": {"diff_ids": list(map(diff_id, layers))}})


@pytest.mark.parametrize(
    "layer",
    [
        TAR,
        gzip.compress(TAR),
        gzip.compress(TAR[:10]) + gzip.compress(TAR[10:]),
        zstd.compress(TAR),
        zstd.compress(TAR[:10]) + zstd.compress(TAR[10:]) + SKIPPED,
        lzma.compress(TAR),
        bz2.compress(TAR),
    ],
    ids=["tar", "gzip", "gzips", "zstd", "zstds", "xz", "bzip2"],
)
def test_true_claims(store: MemoryStore, layer: bytes) -> None:
    """A layer is unpacked as its bytes are compressed, whatever its type."""
    manifest = image(store, [layer], claims(TAR))
    check = DiffIdCheck()
    found = check.check_stored(store, "1", "an image")
    assert found == {diff_id(TAR): manifest.layers[0]}
    assert check.mismatches(store, manifest) == []


def test_other_algorithm(store: MemoryStore) -> None:
    """A config may use another algorithm than the manifest."""
    config = {"rootfs": {"diff_ids": [diff_id(TAR, "sha512")]}}
    image(store, [gzip.compress(TAR)], json.dumps(config))
    assert DiffIdCheck().check_stored(store, "1", "an image")


@pytest.mark.parametrize(
    "layer",
    [
        gzip.compress(OTHER),
        zstd.compress(OTHER),
        OTHER,
        gzip.compress(TAR) + gzip.compress(b"more"),
        gzip.compress(gzip.compress(TAR)),
    ],
    ids=["gzip", "zstd", "tar", "more", "twice"],
)
def test_false_claim(store: MemoryStore, layer: bytes) -> None:
    """A layer that another image's diff ID is claimed for is named."""
    low = gzip.compress(b"low")
    manifest = image(store, [low, layer], claims(b"low", TAR))
    with pytest.raises(errors.InvalidContent, match=r"^an image: layer"):
        DiffIdCheck().check_stored(store, "1", "an image")
    (wrong,) = DiffIdCheck().mismatches(store, manifest)
    assert manifest.layers[1].digest in str(wrong)


@pytest.mark.parametrize(
    "layer",
    [
        gzip.compress(TAR)[:-1],
        gzip.compress(TAR) + b"junk",
        zstd.compress(TAR)[:-1],
        lzma.compress(TAR)[:-1],
        bz2.compress(TAR)[:-1],
        b"\x1f\x8b\x08" + TAR,
        b"\x28\xb5\x2f\xfd" + TAR,
        b"\xfd7zXZ\x00" + TAR,
        b"BZh" + TAR,
    ],
    ids=[
        *("gzip cut", "gzip more", "zstd cut", "xz cut", "bzip2 cut"),
        *("gzip", "zstd", "xz", "bzip2"),
    ],
)
def test_damaged(store: MemoryStore, layer: bytes) -> None:
    """A layer that cannot be decompressed is named, with the reason."""
    manifest = image(store, [layer], claims(TAR))
    with pytest.raises(errors.InvalidContent, match="cannot be decompressed"):
        DiffIdCheck().check_stored(store, "1", "an image")
    assert DiffIdCheck().mismatches(store, manifest)


@pytest.mark.parametrize("repeated", [False, True])
def test_bomb(store: MemoryStore, *, repeated: bool) -> None:
    """All layers together are bounded, and a layer counts once."""
    zeros = bytes(1 << 20)
    other = zeros if repeated else zeros + b"1"
    layers = [gzip.compress(data) for data in (zeros, other)]
    image(store, layers, claims(zeros, other))
    check = DiffIdCheck(3 << 19, "/var/lib/containers")
    if repeated:
        check.check_stored(store, "1", "an image")
        return
    with pytest.raises(
        errors.InvalidContent,
        match=r"exceeds the limit .*1572864 bytes, the room in /var/lib",
    ):
        check.check_stored(store, "1", "an image")


def test_dictionary_bomb(store: MemoryStore) -> None:
    """A layer cannot ask for gigabytes of memory to be decompressed."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    image(store, [lzma.compress(TAR, filters=filters)], claims(TAR))
    with pytest.raises(errors.InvalidContent, match="cannot be decompressed"):
        DiffIdCheck().check_stored(store, "1", "an image")


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        "{}",
        '{"rootfs": []}',
        '{"rootfs": {"diff_ids": null}}',
        '{"rootfs": {"diff_ids": ["sha256:1"]}}',
        '{"rootfs": {"diff_ids": []}}',
        claims(TAR, TAR),
        "[" * 100_000,
    ],
)
def test_no_claims(store: MemoryStore, config: str) -> None:
    """An image needs one diff ID for each layer; an artifact needs none."""
    layers = [gzip.compress(TAR)]
    manifest = image(store, layers, config)
    with pytest.raises(errors.InvalidContent, match="an image: "):
        DiffIdCheck().check_stored(store, "1", "an image")
    assert DiffIdCheck().mismatches(store, manifest)
    artifact = image(store, layers, config, config_type="application/x")
    assert DiffIdCheck().mismatches(store, artifact) == []


def test_image_with_a_config_of_another_type(store: MemoryStore) -> None:
    """An image does not escape by the type of its config."""
    manifest = image(store, [OTHER], claims(TAR), config_type="application/x")
    assert DiffIdCheck().mismatches(store, manifest)


@pytest.mark.parametrize(
    "rootfs",
    [
        '{"diff_ids": [], "diff_ids": ["CLAIM"]}',
        '{"diff_ids": ["CLAIM"], "Diff_IDs": []}',
        '{"diff_ids": ["CLAIM"]}, "Rootfs": {"diff_ids": []}',
    ],
)
def test_claims_that_readers_take_differently(
    store: MemoryStore, rootfs: str
) -> None:
    """A name that others take for another one is refused."""
    config = f'{{"rootfs": {rootfs.replace("CLAIM", diff_id(TAR))}}}'
    image(store, [TAR], config)
    with pytest.raises(errors.InvalidContent, match="an image: sha256"):
        DiffIdCheck().check_stored(store, "1", "an image")


def test_labels_that_differ_in_case(store: MemoryStore) -> None:
    """Labels are no structure: their case makes a difference."""
    config = json.loads(claims(TAR))
    config["config"] = {"Labels": {"Vendor": "a", "vendor": "b"}}
    image(store, [TAR], json.dumps(config))
    assert DiffIdCheck().check_stored(store, "1", "an image")


def test_layers_at_urls(store: MemoryStore) -> None:
    """Layers that buildah would fetch from anywhere are refused."""
    image(store, [TAR], claims(TAR), urls=("http://127.0.0.1/x",))
    with pytest.raises(errors.InvalidContent, match="is offered at URLs"):
        DiffIdCheck().check_stored(store, "1", "an image")


def test_index(store: MemoryStore) -> None:
    """All images of an index that are there are checked."""
    good = image(store, [TAR], claims(TAR)).descriptor
    bad = image(store, [OTHER], claims(TAR)).descriptor
    absent = Descriptor.of(b"{}", mediatypes.OCI_MANIFEST)
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [x.to_json() for x in (good, absent, bad)],
    }
    root = content.piece(json.dumps(document).encode(), mediatypes.OCI_INDEX)
    put(store, content.Image(root, ()), "1")
    with pytest.raises(errors.InvalidContent, match="has the diff ID"):
        DiffIdCheck().check_stored(store, "1", "an image")


def test_each_layer_is_read_once(store: MemoryStore) -> None:
    """A shared layer is decompressed once."""
    image(store, [gzip.compress(TAR)], claims(TAR))
    check = DiffIdCheck()
    check.check_stored(store, "1", "an image")
    with mock.patch.object(
        MemoryStore, "fetch", autospec=True, side_effect=MemoryStore.fetch
    ) as fetch:
        check.check_stored(store, "1", "another")
    types = [call.args[1].media_type for call in fetch.call_args_list]
    assert types == [mediatypes.OCI_MANIFEST, mediatypes.OCI_CONFIG]
