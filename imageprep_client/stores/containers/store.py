"""The images in local storage with one name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import document as documents
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.programs.buildah import LocalImage
from imageprep_client.stores import base, verify
from imageprep_client.stores.containers.storage import (
    CompressedLayer,
    ContainersStorage,
)

#: The media types of compressed layers in a manifest, by their original type.
_TYPES: Mapping[str, Mapping[str, str]] = {
    mediatypes.OCI_MANIFEST: {
        mediatypes.OCI_LAYER_GZIP: mediatypes.OCI_LAYER_GZIP,
        mediatypes.OCI_LAYER_ZSTD: mediatypes.OCI_LAYER_ZSTD,
        mediatypes.DOCKER_LAYER_GZIP: mediatypes.OCI_LAYER_GZIP,
    },
    mediatypes.DOCKER_MANIFEST: {
        mediatypes.DOCKER_LAYER_GZIP: mediatypes.DOCKER_LAYER_GZIP,
        mediatypes.OCI_LAYER_GZIP: mediatypes.DOCKER_LAYER_GZIP,
    },
}


class ContainersStore:
    """The images ``<repository>:<tag>`` of local storage; read only.

    The config, and with it the image ID and the diff IDs, is that of the
    local image. The manifest is the local one if it names compressed layers
    that are available. Otherwise it is the local one with other compressed
    layers, and it is as reproducible as they are.

    :param repository: with the registry, such as ``localhost/nova``.
    :param going_to: the destination; pulled layers that it has are not
        compressed again.
    """

    registry = "containers-storage:"

    def __init__(
        self,
        storage: ContainersStorage,
        repository: str,
        going_to: base.ReadableStore | None = None,
    ) -> None:
        self.repository = repository
        self._storage = storage
        self._going_to = going_to
        self._contents: dict[str, tuple[Descriptor, bytes]] = {}
        self._layers: dict[str, CompressedLayer] = {}

    def __str__(self) -> str:
        return f"{self.registry}{self.repository}"

    def resolve(self, reference: str) -> Descriptor:
        """The manifest of a local image.

        This compresses the layers, because the digest depends on theirs.
        """
        if digests.is_valid(reference):
            if reference in self._contents:
                return self._contents[reference][0]
            name = f"{self.repository}@{reference}"
        else:
            name = f"{self.repository}:{references.check_tag(reference)}"
        image = self._storage.buildah.image(name)
        if image is None:
            raise errors.NotFound(f"{self.registry}{name}: no such image")
        return self._read(name, image)

    def exists(self, descriptor: Descriptor) -> bool:
        digest = descriptor.digest
        return digest in self._contents or digest in self._layers

    def fetch(self, descriptor: Descriptor) -> base.Content:
        if descriptor.digest in self._layers:
            return self._layers[descriptor.digest].fetch()
        if descriptor.digest in self._contents:
            _, content = self._contents[descriptor.digest]
            return verify.from_bytes(content, descriptor)
        raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")

    def _read(self, name: str, image: LocalImage) -> Descriptor:
        """Prepare the content of an image."""
        stored = _parsed(name, image)
        types = _TYPES[stored.descriptor.media_type]
        layers = self._storage.layers(name, image, types, self._going_to)
        content = _with_layers(
            stored,
            [
                Descriptor(types[d.media_type], d.digest, d.size)
                for d in (layer.descriptor for layer in layers)
            ],
        )
        root = Descriptor.of(content, stored.descriptor.media_type)
        config = Descriptor.of(image.config, "")
        self._contents[config.digest] = config, image.config
        self._layers.update((x.descriptor.digest, x) for x in layers)
        self._contents[root.digest] = root, content
        return root


def _parsed(name: str, image: LocalImage) -> Manifest:
    """Parse the manifest of a local image, and check it with the config."""
    media_type = manifests.type_of(image.manifest)
    if media_type not in _TYPES:
        raise errors.InvalidContent(
            f"{name}: a manifest of type {media_type!r} cannot be copied",
            hint="make the image again, in the format oci",
        )
    stored = manifests.parse(image.manifest, media_type)
    config = digests.of(image.config)
    if stored.config is None or stored.config.digest != config:
        raise errors.InvalidContent(
            f"{name}: its config is not the one of its manifest"
        )
    if len(stored.layers) != len(image.diff_ids):
        raise errors.InvalidContent(
            f"{name}: {len(stored.layers)} layers in its manifest,"
            f" {len(image.diff_ids)} in its config"
        )
    return stored


def _with_layers(stored: Manifest, layers: Sequence[Descriptor]) -> bytes:
    """The manifest with other layers; unchanged bytes for its own layers."""
    if [x.digest for x in layers] == [x.digest for x in stored.layers]:
        return stored.content
    document = json.loads(stored.content)
    for entry, layer in zip(document["layers"], layers, strict=True):
        entry["mediaType"] = layer.media_type
        entry["digest"] = layer.digest
        entry["size"] = layer.size
    return documents.dump(document)
