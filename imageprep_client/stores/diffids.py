"""Layers compared with the diff IDs that the config of their image claims.

A diff ID is the digest of a layer without its compression. A config can
claim any: only the layer itself shows whether the claim is true.
"""

from __future__ import annotations

import bz2
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence

from imageprep_client import decompression, errors
from imageprep_client.oci import config as configs
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import verify
from imageprep_client.stores.base import CHUNK, Content, ReadableStore

#: Bytes that the layers of one check may have without their compression.
MAX_UNPACKED = 1 << 36
_IMAGE_CONFIGS = frozenset({mediatypes.OCI_CONFIG, mediatypes.DOCKER_CONFIG})


#: containers/storage goes by the first bytes, too, whatever the media type
#: says.
_FORMATS = {**decompression.FORMATS, b"BZh": bz2.BZ2Decompressor}


class DiffIdCheck:
    """Checks images against their configs; may be used by several threads.

    Each layer is decompressed once, however many images have it.

    :param limit: how many bytes all layers together may have without their
        compression.
    :param room: what `limit` is, for messages, such as a directory.
    """

    def __init__(self, limit: int = MAX_UNPACKED, room: str = "") -> None:
        self._limit = min(limit, MAX_UNPACKED)
        self._room = room and f", the room in {room}"
        self._total = 0
        self._known: dict[tuple[str, str], str] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def check_stored(
        self, store: ReadableStore, reference: str, name: str
    ) -> Mapping[str, Descriptor]:
        """Check all that is in a store of an image, before it is unpacked.

        :param reference: a tag or digest of an image or an index.
        :param name: what messages call the image.
        :returns: the layers by their diff IDs.
        :raises InvalidContent: when a layer has another diff ID than the
            config says, cannot be decompressed, or is offered at URLs.
        :raises StoreError: when the image cannot be read.
        """
        layers: dict[str, Descriptor] = {}
        todo = [store.resolve(reference)]
        while todo:
            manifest = verify.manifest(store, todo.pop())
            todo += [m for m in manifest.manifests if store.exists(m)]
            if manifest.config is None:
                continue
            _refuse_urls(manifest, name)
            claimed = _claimed(store, manifest.config, manifest.layers, name)
            for diff_id, layer in zip(claimed, manifest.layers, strict=True):
                self._compare(store, layer, diff_id, name)
                layers[diff_id] = layer
        return layers

    def mismatches(
        self, store: ReadableStore, manifest: Manifest
    ) -> list[errors.InvalidContent]:
        """Compare the layers of one image in a store with its config.

        :returns: why the image is wrong; empty also for other manifests.
        """
        config = manifest.config
        if config is None or not manifest.layers:
            return []
        differing: list[errors.InvalidContent] = []
        try:
            claimed = _claimed(store, config, manifest.layers, str(store))
        except errors.InvalidContent as error:
            # The config of an artifact can be anything.
            return [error] if config.media_type in _IMAGE_CONFIGS else []
        for diff_id, layer in zip(claimed, manifest.layers, strict=True):
            if layer.is_external:
                continue
            try:
                self._compare(store, layer, diff_id, str(store))
            except errors.InvalidContent as error:
                differing.append(error)
        return differing

    def _compare(
        self, store: ReadableStore, layer: Descriptor, diff_id: str, name: str
    ) -> None:
        actual = self._diff_id(store, layer, diff_id, name)
        if actual != diff_id:
            raise errors.InvalidContent(
                f"{name}: layer {layer.digest} has the diff ID {actual}, the"
                f" config of the image says {diff_id}",
                hint="the image is damaged or hostile; get it from another"
                " place",
            )

    def _diff_id(
        self, store: ReadableStore, layer: Descriptor, like: str, name: str
    ) -> str:
        """The diff ID of a layer, by the algorithm of another digest."""
        key = layer.digest, like.partition(":")[0]
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._known:
                with contextlib.closing(store.fetch(layer)) as content:
                    diff_id = self._hash(content, layer, like, name)
                self._known[key] = f"{key[1]}:{diff_id}"
            return self._known[key]

    def _hash(
        self, content: Content, layer: Descriptor, like: str, name: str
    ) -> str:
        digest = digests.hasher(like)
        size = 0
        try:
            for chunk in unpacked(content):
                size += len(chunk)
                if self._total + size > self._limit:
                    raise errors.InvalidContent(
                        f"{name}: layer {layer.digest} exceeds the limit for"
                        f" unpacked layers: {self._limit} bytes{self._room}"
                    )
                digest.update(chunk)
        except decompression.DAMAGED as error:
            raise errors.InvalidContent(
                f"{name}: layer {layer.digest} cannot be decompressed: {error}"
            ) from None
        with self._lock:
            self._total += size
        return digest.hexdigest()


def unpacked(content: Content) -> Iterator[bytes]:
    """The bytes of a layer without its compression, in bounded pieces.

    :raises EOFError: when it is cut off.
    """
    chunks = iter(lambda: content.read(CHUNK), b"")
    return decompression.unpacked(chunks, CHUNK, _FORMATS)


def _claimed(
    store: ReadableStore,
    config: Descriptor,
    layers: Sequence[Descriptor],
    name: str,
) -> Sequence[str]:
    """The diff IDs of a config, one for each layer."""
    content = verify.read_all(
        store.fetch(config), configs.MAX_SIZE, config.digest
    )
    claimed = configs.parse(content, f"{name}: {config.digest}").diff_ids
    if not all(map(digests.is_valid, claimed)):
        raise errors.InvalidContent(
            f"{name}: config {config.digest} has invalid diff IDs"
        )
    if len(claimed) != len(layers):
        raise errors.InvalidContent(
            f"{name}: {len(layers)} layers in its manifest,"
            f" {len(claimed)} in its config"
        )
    return claimed


def _refuse_urls(manifest: Manifest, name: str) -> None:
    """Refuse layers that clients would fetch from URLs."""
    document = json.loads(manifest.content)
    for part in (document["config"], *document["layers"]):
        if part.get("urls"):
            raise errors.InvalidContent(
                f"{name}: layer {part['digest']} is offered at URLs, which"
                " are not asked",
                hint="take an image whose registry has all its layers",
            )
