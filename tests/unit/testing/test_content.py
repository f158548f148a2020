"""Sample content is what it says and always the same."""

from __future__ import annotations

import json

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.testing import content


def test_blobs_are_repeatable() -> None:
    """Equal seeds give equal bytes, others do not."""
    assert content.blob("a") == content.blob("a")
    assert content.blob("a") != content.blob("b")
    assert content.blob("a", 10).data == content.blob("a", 10).open().read()


@pytest.mark.parametrize(
    "image",
    [
        content.image("x"),
        content.image("x", docker=True),
        content.image("x", algorithm="sha512"),
        content.index({"linux/arm64/v8": content.image("x")}),
        content.index({"linux/amd64": content.image("x")}, docker=True),
        content.artifact("x", content.image("y").descriptor),
        content.artifact(
            "x", content.image("y").descriptor, annotations={"a": "b"}
        ),
    ],
)
def test_manifests_are_sound(image: content.Image) -> None:
    """Manifests parse, and name what comes with them."""
    descriptor = image.descriptor
    algorithm = descriptor.digest.partition(":")[0]
    assert digests.of(image.manifest.data, algorithm) == descriptor.digest
    parsed = manifests.parse(
        image.manifest.data, descriptor.media_type, descriptor.digest
    )
    parts = {piece.descriptor for piece in image.parts}
    assert parts.issuperset((*parsed.blobs, *parsed.manifests))
    assert image.pieces[-1] is image.manifest


def test_labels() -> None:
    """The config has the labels, which discovery reads."""
    image = content.image("x", labels={"rdo_version": "17.1"})
    config = json.loads(image.parts[-1].data)
    assert config["config"]["Labels"] == {"rdo_version": "17.1"}
