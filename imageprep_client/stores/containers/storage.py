"""Local storage during a run, and its compressed layers."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import layout as layouts
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.programs.buildah import (
    Buildah,
    LocalImage,
    own_name,
    temporary,
)
from imageprep_client.stores import base, diffids, verify


@dataclasses.dataclass(frozen=True, slots=True)
class CompressedLayer:
    """A compressed layer and its location.

    :ivar location: a store, or a file of this run.
    """

    descriptor: Descriptor
    location: base.ReadableStore | Path

    def fetch(self) -> base.Content:
        """Open the layer; its bytes are verified."""
        if not isinstance(self.location, Path):
            return self.location.fetch(self.descriptor)
        with disk.reported(self.location):
            file = self.location.open("rb")
        return verify.VerifiedContent(file, self.descriptor)


class ContainersStorage(base.Closing):
    """Local storage during a run; close it.

    buildah compresses the layers that no place has compressed. It uses all
    processors, so images are compressed one after the other, and each layer
    once. The files are below TMPDIR, or /var/tmp, until this is closed.
    """

    def __init__(self, buildah: Buildah) -> None:
        self.buildah = buildah
        self._known: dict[str, CompressedLayer] = {}
        self._compressed: dict[str, CompressedLayer] = {}
        self._compressing = threading.Lock()
        self._exit = contextlib.ExitStack()
        self._closed = False

    def know(
        self, layers: Mapping[str, Descriptor], store: base.ReadableStore
    ) -> None:
        """Use compressed layers of a store instead of compressing them.

        :param layers: the layers by the diff IDs that were computed from
            them, see `stores.diffids`; the claim of a config is no proof.
        """
        for diff_id, layer in layers.items():
            self._known[diff_id] = CompressedLayer(layer, store)

    def layers(
        self,
        name: str,
        image: LocalImage,
        types: Collection[str],
        going_to: base.ReadableStore | None,
    ) -> Sequence[CompressedLayer]:
        """The compressed layers of an image, the lowest first.

        :param name: the name of the image in messages.
        :param types: the media types that its manifest can have.
        :param going_to: the destination; layers that it has are not
            compressed.
        :raises LocalStorageError: when the layers of the image do not match
            its config.
        """
        if not self.buildah.check_layers(image, name):
            # Its layers cannot be related to those of other images.
            return self._compressed_alone(name, image)
        known = {}
        for diff_id in image.diff_ids:
            layer = self._known.get(diff_id)
            if layer is None or layer.descriptor.media_type not in types:
                layer = self._at(going_to, diff_id)
            if layer is not None:
                known[diff_id] = layer
        with self._compressing:
            done = self._compressed.keys() | known.keys()
            if not done.issuperset(image.diff_ids):
                self._compressed.update(self._export(image, done))
            return [
                known.get(diff_id) or self._compressed[diff_id]
                for diff_id in image.diff_ids
            ]

    def close(self) -> None:
        """Remove the layers that were compressed."""
        with self._compressing:
            self._closed = True
            self._exit.close()

    def _at(
        self, store: base.ReadableStore | None, diff_id: str
    ) -> CompressedLayer | None:
        """A pulled layer that a store has or can mount."""
        if store is None:
            return None
        # Local storage computed it when it unpacked the layer.
        descriptor = self._pulled.get(diff_id)
        if descriptor is None:
            return None
        if store.exists(descriptor) or (
            isinstance(store, base.Locates) and store.locate(descriptor)
        ):
            return CompressedLayer(descriptor, store)
        return None

    @functools.cached_property
    def _pulled(self) -> Mapping[str, Descriptor]:
        return self.buildah.records().compressed()

    def _compressed_alone(
        self, name: str, image: LocalImage
    ) -> Sequence[CompressedLayer]:
        """Compress all layers of an image, and compare them with its config.

        :raises LocalStorageError: when the config names other layers.
        """
        with self._compressing:
            layers = self._export(image, ())
        for diff_id, layer in layers.items():
            actual = hashlib.sha256()
            with contextlib.closing(layer.fetch()) as content:
                for chunk in diffids.unpacked(content):
                    actual.update(chunk)
            if f"sha256:{actual.hexdigest()}" != diff_id:
                raise errors.LocalStorageError(
                    f"{name}: its layers do not match its config"
                )
        return [layers[diff_id] for diff_id in image.diff_ids]

    def _export(
        self, image: LocalImage, done: Collection[str]
    ) -> dict[str, CompressedLayer]:
        """Compress the layers of an image that are not among `done`.

        :returns: the layers by their diff IDs.
        """
        if self._closed:
            # A thread of an interrupted run waited for another one.
            raise errors.LocalStorageError("local storage: stopped")
        layout = self._directory / own_name()
        blobs = layout / "blobs" / "sha256"
        with disk.reported(layout):
            blobs.mkdir(parents=True)
            for diff_id in set(image.diff_ids) & set(done):
                # buildah only looks for the name.
                (blobs / diff_id.partition(":")[2]).touch()
        self.buildah.export(image.id, str(layout), image.id)
        layers = zip(image.diff_ids, _exported(layout, blobs), strict=True)
        return {
            diff_id: CompressedLayer(
                layer, blobs / layer.digest.partition(":")[2]
            )
            for diff_id, layer in layers
            if diff_id not in done
        }

    @functools.cached_property
    def _directory(self) -> Path:
        return self._exit.enter_context(temporary(self.buildah.environment))


def _exported(layout: Path, blobs: Path) -> Sequence[Descriptor]:
    """The layers of the only image in a layout.

    :raises LocalStorageError: when the layout is not valid.
    """
    try:
        path = layout / layouts.INDEX
        (root,) = layouts.Index.parse(path.read_bytes(), str(path)).roots()
        path = blobs / root.digest.partition(":")[2]
        return manifests.parse(path.read_bytes(), root.media_type).layers
    except (OSError, ValueError, errors.InvalidContent) as error:
        raise errors.LocalStorageError(
            f"{layout}: buildah push: not the layout of an image: {error}"
        ) from None
