"""Sample images that share layers as those of a real overcloud do.

All of it follows from a seed: the same arguments give the same digests.
Layers are real gzipped tars of one file each, so container tools can unpack
them; their bytes are made when they are read and never kept in memory.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import random
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores.base import CHUNK, Content, Mounts, Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")

#: The type of the signatures that `overcloud` and `random_image` can add.
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"

# How the bytes of an overcloud are spread. With 86 images in 16 families
# these give 208 blobs, and images that together are 14 times their unique
# bytes: what was measured on a deployment's registry.
_BASE_LAYERS, _BASE_SHARE = 4, 0.125
_FAMILIES, _FAMILY_LAYERS, _FAMILY_SHARE = 16, 2, 0.525

_NO_LABELS: Mapping[str, str] = {}
_EPOCH = "1970-01-01T00:00:00Z"


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """The media types that an image is made with."""

    manifest: str
    index: str
    config: str
    layer: str


OCI = Form(
    mediatypes.OCI_MANIFEST,
    mediatypes.OCI_INDEX,
    mediatypes.OCI_CONFIG,
    mediatypes.OCI_LAYER_GZIP,
)
DOCKER = Form(
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_INDEX,
    mediatypes.DOCKER_CONFIG,
    mediatypes.DOCKER_LAYER_GZIP,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Blob:
    """A config or a layer.

    :ivar chunks: makes the bytes, from the start, at every call.
    """

    descriptor: Descriptor
    chunks: Callable[[], Iterable[bytes]] = dataclasses.field(
        repr=False, compare=False
    )

    def open(self) -> Content:
        """The bytes as a stream."""
        return io.BufferedReader(_Chunks(self.chunks()), CHUNK)


@dataclasses.dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image: everything that a repository must hold of it.

    :ivar descriptor: what its tags name, a manifest or an index.
    :ivar blobs: all configs and layers, each once.
    :ivar manifests: each after those that it names.
    """

    repository: str
    tags: tuple[str, ...]
    descriptor: Descriptor
    blobs: tuple[Blob, ...]
    manifests: tuple[manifests.Manifest, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSet:
    """Images that may share blobs."""

    images: tuple[GeneratedImage, ...]

    @property
    def blobs(self) -> dict[str, Blob]:
        """The different blobs by digest."""
        return {
            blob.descriptor.digest: blob
            for image in self.images
            for blob in image.blobs
        }

    @property
    def unique_bytes(self) -> int:
        """The bytes of the different blobs."""
        return sum(b.descriptor.size for b in self.blobs.values())

    @property
    def naive_bytes(self) -> int:
        """The bytes of all images as if nothing were shared."""
        return sum(
            blob.descriptor.size
            for image in self.images
            for blob in image.blobs
        )


def overcloud(
    names: Mapping[str, Sequence[str]],
    *,
    seed: str = "overcloud",
    unique_bytes: int = 32 * 1024 * 1024,
    labels: Mapping[str, str] = _NO_LABELS,
    form: Form = OCI,
    platforms: Sequence[Platform] = (AMD64,),
    signed: bool = False,
) -> ImageSet:
    """Images on a common base, in families that share more, each with a
    layer of its own.

    Names that are neighbours in sorted order are of the same family, as
    ``nova-api`` and ``nova-compute`` are.

    :param names: the tags of each repository.
    :param unique_bytes: of all layers together, per platform; met within a
        few hundred bytes per layer.
    :param labels: of every image, such as ``rdo_version``.
    :param platforms: several of them make every image an index.
    :param signed: add a signature to each image that refers to it.
    """
    order = sorted(names)
    layers: dict[str, dict[Platform, list[_Layer]]] = {n: {} for n in order}
    for platform in platforms:
        make = functools.partial(_layers, f"{seed}/{platform}", form)
        base = make("base", _BASE_LAYERS, unique_bytes * _BASE_SHARE)
        shared = make(
            "family", _FAMILIES * _FAMILY_LAYERS, unique_bytes * _FAMILY_SHARE
        )
        rest = unique_bytes * (1 - _BASE_SHARE - _FAMILY_SHARE)
        own = make("own", len(order), rest)
        for number, name in enumerate(order):
            family = number * _FAMILIES // len(order) * _FAMILY_LAYERS
            layers[name][platform] = [
                *base,
                *shared[family : family + _FAMILY_LAYERS],
                own[number],
            ]
    return ImageSet(
        tuple(
            _image(name, names[name], layers[name], labels, form, signed)
            for name in order
        )
    )


def random_image(
    seed: str,
    *,
    repository: str = "sample/image",
    tags: Sequence[str] = ("latest",),
    layers: int = 2,
    size: int = 4096,
    labels: Mapping[str, str] = _NO_LABELS,
    form: Form = OCI,
    platforms: Sequence[Platform] = (AMD64,),
    signed: bool = False,
) -> GeneratedImage:
    """One image that shares nothing with images of other seeds.

    :param size: bytes of the file in each layer.
    """
    return _image(
        repository,
        tags,
        {
            platform: [
                _Layer.make(f"{seed}/{platform}/{number}", size, form.layer)
                for number in range(layers)
            ]
            for platform in platforms
        },
        labels,
        form,
        signed,
    )


def write(
    images: Iterable[GeneratedImage], open_store: Callable[[str], Store]
) -> None:
    """Push the images; what a store can mount is made only once.

    :param open_store: gives the store of a repository; all are taken to be
        of one registry.
    """
    homes: dict[str, str] = {}
    for image in images:
        store = open_store(image.repository)
        for blob in image.blobs:
            home = homes.setdefault(blob.descriptor.digest, image.repository)
            if home != image.repository and (
                isinstance(store, Mounts)
                and store.mount(blob.descriptor, home)
            ):
                continue
            with blob.open() as content:
                store.push(blob.descriptor, content)
        for manifest in image.manifests:
            store.push(manifest.descriptor, io.BytesIO(manifest.content))
        for tag in image.tags:
            store.tag(image.descriptor, tag)


@dataclasses.dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's blob, and the digest of the tar in it that configs name."""

    blob: Blob
    diff_id: str

    @classmethod
    def make(cls, name: str, size: int, media_type: str) -> _Layer:
        """Describe the layer by making its bytes once."""
        compressed, plain = hashlib.sha256(), hashlib.sha256()
        length = 0
        for chunk in _gzip(_hashed(_tar(name, size), plain.update)):
            compressed.update(chunk)
            length += len(chunk)
        descriptor = Descriptor(
            media_type, f"sha256:{compressed.hexdigest()}", length
        )
        return cls(
            Blob(descriptor, lambda: _gzip(_tar(name, size))),
            f"sha256:{plain.hexdigest()}",
        )


class _Chunks(io.RawIOBase):
    """An iterable of bytes as a raw stream."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _tar(name: str, size: int) -> Iterator[bytes]:
    """A tar archive of one file with `size` bytes that look random."""
    entry = tarfile.TarInfo(f"usr/share/sample/{name}")
    entry.size = size
    yield entry.tobuf(tarfile.GNU_FORMAT)
    source = random.Random(name)  # noqa: S311 - not a secret
    for start in range(0, size, CHUNK):
        yield source.randbytes(min(CHUNK, size - start))
    padding = -size % tarfile.BLOCKSIZE
    yield bytes(padding + 2 * tarfile.BLOCKSIZE)


def _gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Gzip without compressing: random bytes have nothing to squeeze."""
    compressor = zlib.compressobj(0, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def _hashed(
    chunks: Iterable[bytes], update: Callable[[bytes], None]
) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk


def _layers(
    seed: str, form: Form, kind: str, count: int, total: float
) -> list[_Layer]:
    """`count` layers of different sizes that together have `total` bytes."""
    source = random.Random(f"{seed}/{kind}")  # noqa: S311 - not a secret
    weights = [source.uniform(0.2, 1.8) for _ in range(count)]
    unit = total / sum(weights)
    return [
        _Layer.make(f"{seed}/{kind}-{number}", int(weight * unit), form.layer)
        for number, weight in enumerate(weights)
    ]


def _image(
    repository: str,
    tags: Sequence[str],
    layers: Mapping[Platform, Sequence[_Layer]],
    labels: Mapping[str, str],
    form: Form,
    signed: bool,
) -> GeneratedImage:
    blobs: dict[str, Blob] = {}
    found: list[manifests.Manifest] = []
    for platform, own in layers.items():
        # The name is a label as well: otherwise two images of the same
        # layers would be one.
        config = _config(platform, own, {"name": repository, **labels}, form)
        parts = [config, *(layer.blob for layer in own)]
        blobs.update((part.descriptor.digest, part) for part in parts)
        found.append(_manifest(form.manifest, _body(parts)))
    if len(found) > 1:
        entries = [
            dataclasses.replace(
                manifest.descriptor, platform=platform
            ).to_json()
            for manifest, platform in zip(found, layers, strict=True)
        ]
        found.append(_manifest(form.index, {"manifests": entries}))
    root = found[-1].descriptor
    if signed:
        empty = _bytes_blob(b"{}", mediatypes.OCI_EMPTY)
        payload = json.dumps({"signs": root.digest}).encode()
        parts = [empty, _bytes_blob(payload, SIGNATURE)]
        blobs.update((part.descriptor.digest, part) for part in parts)
        body = _body(parts) | {
            "artifactType": SIGNATURE,
            "subject": root.to_json(),
        }
        found.append(_manifest(mediatypes.OCI_MANIFEST, body))
    return GeneratedImage(
        repository, tuple(tags), root, tuple(blobs.values()), tuple(found)
    )


def _config(
    platform: Platform,
    layers: Sequence[_Layer],
    labels: Mapping[str, str],
    form: Form,
) -> Blob:
    document = {
        "created": _EPOCH,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Cmd": ["/bin/true"], "Labels": dict(labels)},
        "rootfs": {
            "type": "layers",
            "diff_ids": [layer.diff_id for layer in layers],
        },
        "history": [
            {"created": _EPOCH, "created_by": "sample"} for _ in layers
        ],
    }
    return _bytes_blob(json.dumps(document).encode(), form.config)


def _bytes_blob(content: bytes, media_type: str) -> Blob:
    return Blob(Descriptor.of(content, media_type), lambda: [content])


def _body(parts: Sequence[Blob]) -> dict[str, Any]:
    """The part of a manifest that names a config and layers."""
    config, *layers = (part.descriptor.to_json() for part in parts)
    return {"config": config, "layers": layers}


def _manifest(media_type: str, body: Mapping[str, Any]) -> manifests.Manifest:
    document = {"schemaVersion": 2, "mediaType": media_type, **body}
    content = json.dumps(document, indent=2).encode()
    return manifests.parse(content, media_type)
