"""The images that a node's services run, as its registries have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.service_registries import ServiceRegistries
from imageprep_client.client.stores import Stores
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.testing import content, streams
from imageprep_client.testing.registry import RegistryServer

IMAGE = content.image("service")
OTHER = {"architecture": "riscv64", "os": "linux"}


@pytest.mark.parametrize(
    ("platform", "fits"), [(None, True), (OTHER, False)], ids=["none", "other"]
)
def test_image_without_a_platform(
    tmp_path: Path, platform: dict[str, str] | None, fits: bool
) -> None:
    """podman takes it from an index that has none for the host."""
    entry = IMAGE.descriptor.to_json() | {"platform": platform}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [entry],
        }
    ).encode()
    descriptor = Descriptor.of(index, mediatypes.OCI_INDEX)
    options = RegistryOptions()
    with RegistryServer() as server, Stores(options, Observer()) as stores:
        store = server.content.store("ns/a")
        streams.put(store, IMAGE)
        streams.push(store, content.Piece(descriptor, index))
        store.tag(descriptor, "1")
        registries = ServiceRegistries(stores, options, tmp_path)
        reference = Reference(server.host, "ns/a", "1", None)
        if fits:
            assert registries.look_up(reference).digest == descriptor.digest
        else:
            with pytest.raises(errors.NotFound, match="has no image for"):
                registries.look_up(reference)


def test_unknown_tag(tmp_path: Path) -> None:
    """The error about a tag names the nearest ones."""
    options = RegistryOptions()
    with RegistryServer() as server, Stores(options, Observer()) as stores:
        store = server.content.store("ns/a")
        streams.put(store, IMAGE)
        store.tag(IMAGE.descriptor, "2026.1")
        registries = ServiceRegistries(stores, options, tmp_path)
        with pytest.raises(errors.NotFound) as caught:
            registries.look_up(Reference(server.host, "ns/a", "2026.2", None))
    assert caught.value.hint == "the nearest tags there are: 2026.1"
