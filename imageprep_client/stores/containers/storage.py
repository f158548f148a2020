"""All of local storage: what a run packs of it, and what it need not."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.programs.buildah import (
    Buildah,
    LocalImage,
    own_name,
    temporary,
)
from imageprep_client.stores import (
    base,
    verify,
)
from imageprep_client.stores.containers import records


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A packed layer, and who has it.

    :ivar home: a store, or a file of this run.
    """

    descriptor: Descriptor
    home: base.ReadableStore | Path

    def fetch(self) -> base.Content:
        """Its bytes, verified."""
        if not isinstance(self.home, Path):
            return self.home.fetch(self.descriptor)
        with disk.reported(self.home):
            file = self.home.open("rb")
        return verify.VerifiedContent(file, self.descriptor)


class ContainersStorage:
    """Local storage, during a run; close it.

    Layers that are packed nowhere are packed by buildah, which keeps all
    processors busy by itself: one image after the other, each layer once.
    They stay below TMPDIR, or /var/tmp, until this is closed.
    """

    def __init__(self, buildah: Buildah) -> None:
        self.buildah = buildah
        self._known: dict[str, Layer] = {}
        self._packed: dict[str, Layer] = {}
        self._packing = threading.Lock()
        self._exit = contextlib.ExitStack()
        self._closed = False

    def know(
        self,
        diff_ids: Sequence[str],
        layers: Sequence[Descriptor],
        store: base.ReadableStore,
    ) -> None:
        """`store` has these layers packed: they are not packed again.

        For what was pulled from there, and for what was made from that.

        :param diff_ids: as in the config of an image in `store`.
        :param layers: as in its manifest, in the same order.
        """
        for diff_id, layer in zip(diff_ids, layers, strict=True):
            self._known[diff_id] = Layer(layer, store)

    def know_image(self, store: base.ReadableStore, reference: str) -> None:
        """`know` of an image in `store`, if there is one of this name."""
        try:
            root = store.resolve(reference)
            content = _read(store, root)
            manifest = manifests.parse(content, root.media_type)
            if manifest.config is None:
                return  # an index
            config = json.loads(_read(store, manifest.config))
            diff_ids = [str(each) for each in config["rootfs"]["diff_ids"]]
        except errors.NotFound:
            return
        except (ValueError, LookupError, TypeError):
            return  # an artifact, or another kind of image
        if len(diff_ids) == len(manifest.layers):
            self.know(diff_ids, manifest.layers, store)

    def layers(
        self,
        image: LocalImage,
        types: Collection[str],
        going_to: base.ReadableStore | None,
    ) -> Sequence[Layer]:
        """The packed layers of an image, the lowest first.

        :param types: those that its manifest has a name for.
        :param going_to: the destination; what it has need not be packed.
        """
        found = {}
        for diff_id in image.diff_ids:
            layer = self._known.get(diff_id)
            if layer is None or layer.descriptor.media_type not in types:
                layer = self._at(going_to, diff_id)
            if layer is not None:
                found[diff_id] = layer
        with self._packing:
            done = self._packed.keys() | found.keys()
            if not done.issuperset(image.diff_ids):
                self._pack(image, done)
            return [found.get(d) or self._packed[d] for d in image.diff_ids]

    def close(self) -> None:
        """Remove what was packed."""
        with self._packing:
            self._closed = True
            self._exit.close()

    def __enter__(self) -> ContainersStorage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _at(
        self, store: base.ReadableStore | None, diff_id: str
    ) -> Layer | None:
        """A layer that was pulled and that a store has, or can take over."""
        if store is None:
            return None
        descriptor = self._pulled.get(diff_id)
        if descriptor is None:
            return None
        if store.exists(descriptor) or (
            isinstance(store, base.Locates) and store.locate(descriptor)
        ):
            return Layer(descriptor, store)
        return None

    @functools.cached_property
    def _pulled(self) -> Mapping[str, Descriptor]:
        return records.pulled_layers(self.buildah)

    def _pack(self, image: LocalImage, done: Collection[str]) -> None:
        """Pack the layers of an image that are not among `done`."""
        if self._closed:
            # A thread of an interrupted run had to wait for another.
            raise errors.LocalStorageError("local storage: stopped")
        layout = self._directory / own_name()
        blobs = layout / "blobs" / "sha256"
        with disk.reported(layout):
            blobs.mkdir(parents=True)
            for diff_id in set(image.diff_ids) & set(done):
                # buildah looks for the name only.
                (blobs / diff_id.partition(":")[2]).touch()
        self.buildah.export(image.id, str(layout), image.id)
        manifest = _exported(layout, blobs)
        layers = zip(image.diff_ids, manifest, strict=True)
        for diff_id, descriptor in layers:
            if diff_id not in done:
                path = blobs / descriptor.digest.partition(":")[2]
                self._packed[diff_id] = Layer(descriptor, path)

    @functools.cached_property
    def _directory(self) -> Path:
        return self._exit.enter_context(temporary(self.buildah.environment))


def _read(store: base.ReadableStore, descriptor: Descriptor) -> bytes:
    """A manifest or a config."""
    content = store.fetch(descriptor)
    return verify.read_all(content, manifests.MAX_SIZE, descriptor.digest)


def _exported(layout: Path, blobs: Path) -> Sequence[Descriptor]:
    """The layers of the one image in a layout.

    :raises LocalStorageError: when it is not what it should be.
    """
    try:
        index = json.loads((layout / "index.json").read_bytes())
        digest = Descriptor.from_json(index["manifests"][0]).digest
        path = blobs / digest.partition(":")[2]
        found = json.loads(path.read_bytes())["layers"]
        return [Descriptor.from_json(each) for each in found]
    except (
        OSError,
        ValueError,
        LookupError,
        errors.InvalidReference,
    ) as error:
        raise errors.LocalStorageError(
            f"{layout}: buildah push: not the layout of an image: {error}"
        ) from None
