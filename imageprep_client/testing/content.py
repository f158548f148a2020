"""Small blobs, images, indexes and artifacts to try stores with."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform

_NONE: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some content and the descriptor it is addressed by."""

    descriptor: Descriptor
    data: bytes = dataclasses.field(repr=False)

    def open(self) -> io.BytesIO:
        """The bytes as a fresh stream, to be pushed."""
        return io.BytesIO(self.data)


@dataclasses.dataclass(frozen=True)
class Image:
    """A manifest and all that must be stored before it, in that order."""

    manifest: Piece
    parts: tuple[Piece, ...]

    @property
    def descriptor(self) -> Descriptor:
        return self.manifest.descriptor

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Everything, children first, the manifest last."""
        return (*self.parts, self.manifest)


def piece(data: bytes, media_type: str) -> Piece:
    """Content that is given."""
    return Piece(Descriptor.of(data, media_type), data)


def blob(
    seed: object,
    size: int = 1000,
    media_type: str = mediatypes.OCI_LAYER_GZIP,
    algorithm: str = "sha256",
) -> Piece:
    """`size` bytes that look random; equal seeds give equal bytes."""
    # Nothing secret is made of it.
    data = random.Random(str(seed)).randbytes(size)  # noqa: S311
    return Piece(_describe(data, media_type, algorithm), data)


def image(
    seed: object,
    layers: Sequence[Piece] | None = None,
    *,
    labels: Mapping[str, str] = _NONE,
    config: Piece | None = None,
    docker: bool = False,
    algorithm: str = "sha256",
) -> Image:
    """An image; two layers of its own where `layers` are not given.

    :param labels: of its config.
    :param config: in the place of one with the labels.
    :param docker: use docker's media types in place of OCI's.
    :param algorithm: of the manifest's own digest.
    """
    layer_type = (
        mediatypes.DOCKER_LAYER_GZIP if docker else mediatypes.OCI_LAYER_GZIP
    )
    if layers is None:
        layers = [
            blob(f"{seed}/{number}", media_type=layer_type)
            for number in range(2)
        ]
    config = config or _document(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": []},
            "author": str(seed),
        },
        mediatypes.DOCKER_CONFIG if docker else mediatypes.OCI_CONFIG,
    )
    media_type = (
        mediatypes.DOCKER_MANIFEST if docker else mediatypes.OCI_MANIFEST
    )
    manifest = _document(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor.to_json(),
            "layers": [layer.descriptor.to_json() for layer in layers],
        },
        media_type,
        algorithm,
    )
    return Image(manifest, (*layers, config))


def index(
    images: Mapping[str, Image],
    *,
    docker: bool = False,
    annotations: Mapping[str, str] = _NONE,
) -> Image:
    """An index of images by platform, such as ``linux/amd64``."""
    media_type = mediatypes.DOCKER_INDEX if docker else mediatypes.OCI_INDEX
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [
            dataclasses.replace(
                child.descriptor, platform=Platform.parse(platform)
            ).to_json()
            for platform, child in images.items()
        ],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return Image(
        _document(document, media_type),
        tuple(piece for child in images.values() for piece in child.pieces),
    )


def artifact(
    seed: object,
    subject: Descriptor,
    artifact_type: str = "application/vnd.example.sbom",
    annotations: Mapping[str, str] = _NONE,
    algorithm: str = "sha256",
) -> Image:
    """An artifact that refers to `subject`, such as a signature does."""
    empty = Piece(Descriptor.of(b"{}", mediatypes.OCI_EMPTY), b"{}")
    layer = blob(f"{seed}/artifact", media_type="application/octet-stream")
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty.descriptor.to_json(),
        "layers": [layer.descriptor.to_json()],
        "subject": subject.to_json(),
    }
    if annotations:
        document["annotations"] = dict(annotations)
    manifest = _document(document, mediatypes.OCI_MANIFEST, algorithm)
    return Image(manifest, (empty, layer))


def schema1(seed: object) -> Piece:
    """A manifest as docker made them up to 2015; it needs nothing else."""
    document = {
        "schemaVersion": 1,
        "name": str(seed),
        "tag": "latest",
        "fsLayers": [],
        "history": [],
    }
    return _document(
        document, "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )


def _document(
    document: Mapping[str, Any], media_type: str, algorithm: str = "sha256"
) -> Piece:
    # An unusual indentation: who parses and writes again is found out.
    data = json.dumps(document, indent=5).encode()
    return Piece(_describe(data, media_type, algorithm), data)


def _describe(data: bytes, media_type: str, algorithm: str) -> Descriptor:
    return Descriptor(media_type, digests.of(data, algorithm), len(data))
