"""The images of a registry or a tree: a list, and one in detail."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci import config as configs
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.location import Location
from imageprep_client.oci.manifest import Manifest
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.oci.referrers import subject_tag
from imageprep_client.registries import reading
from imageprep_client.stores import base
from imageprep_client.transfer import graph, nearest
from imageprep_client.transfer.workers import Workers

#: Other configs belong to artifacts and may be anything.
_CONFIGS = frozenset({mediatypes.OCI_CONFIG, mediatypes.DOCKER_CONFIG})
# More tags than any registry has.
_MAX_IMAGES = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its digest and its compressed size in bytes."""

    digest: str
    size: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegistryImage:
    """One tag of a list.

    :ivar name: ``[registry/]repository:tag``.
    :ivar digest, size, created: as in `Details`; None if not requested, or
        the image cannot be read.
    """

    name: str
    digest: str | None = None
    size: int | None = None
    created: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """One image.

    Of an index, `created` to `layers` are those of one of its images: the
    one for this host's platform where there is one.

    :ivar name: without tag and digest, and in a tree without a registry.
    :ivar tag: None when it was asked for by digest.
    :ivar created: as its config says it, RFC 3339, or None.
    :ivar platforms: the children of an index; empty for a single image.
    :ivar platform: of the image of an index that is shown.
    :ivar sized: platforms of the images that `size` is of.
    :ivar tags: all of the repository, sorted.
    :ivar size: bytes of all blobs, each once; of an index over all of its
        images that are there.
    :ivar accepted: what the signature policy says of it: by which key it is
        accepted, or why it is not; None where anything is accepted.
    """

    name: str
    tag: str | None
    digest: str
    media_type: str
    created: str | None = None
    architecture: str | None = None
    os: str | None = None
    platforms: Sequence[str] = ()
    platform: str | None = None
    sized: Sequence[str] = ()
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    layers: Sequence[Layer] = ()
    tags: Sequence[str] = ()
    size: int = 0
    accepted: str | None = None


def named(image: str, find_place: Callable[[], Location]) -> Reference:
    """The image that a user means.

    :param image: a `Location`, or ``repository[:tag][@digest]``.
    :param find_place: tells where an image is whose name begins with no
        registry.
    :raises InvalidReference: when a part breaks the grammar.
    """
    references.check_complete(image)
    image = image.removeprefix("docker://")
    first, slash, _ = image.partition("/")
    if references.is_transport(image) or (
        slash and references.is_registry(first)
    ):
        return Reference.parse(image)
    Reference.parse(f"localhost/{image}")
    return find_place().image(image)


def images(
    catalog: base.ListsRepositories,
    open_store: Callable[[str], base.ReadableStore],
    *,
    prefix: str,
    attached: bool,
    concurrency: int,
    observer: Observer,
) -> list[tuple[str, str]]:
    """Repository and tag of every image, sorted.

    Tags are asked for concurrently. A repository whose tags alone are not
    available is left out, and the observer is told.

    :param prefix: only repositories at this path or below; empty: all.
    :param attached: whether tags of signatures and other attached artifacts
        are listed, too.
    :raises StoreError: when there is no catalog, no answer, or no repository
        whose tags are available.
    """
    path = f"{prefix}/" if prefix else ""
    names = [n for n in catalog.repositories() if f"{n}/".startswith(path)]
    listed: list[tuple[str, str]] = []
    lock = threading.Lock()

    def ask(repository: str) -> errors.StoreError | None:
        try:
            tags = [
                tag
                for tag in reading.tags(open_store(repository))
                if attached or not subject_tag(tag)
            ]
        except errors.StoreError as error:
            if not _is_about_one(error):
                raise
            return error
        with lock:
            if len(listed) + len(tags) > _MAX_IMAGES:
                raise errors.InvalidContent(
                    f"{repository}: over {_MAX_IMAGES} tags with those of"
                    " the other repositories",
                    hint="list the images of one path below the registry",
                )
            listed.extend((repository, tag) for tag in tags)
        return None

    with Workers(concurrency, keep_going=False) as workers:
        failures = workers.map(ask, names)
    left = [(n, e) for n, e in zip(names, failures, strict=True) if e]
    if left and len(left) == len(names):
        raise left[0][1]
    for name, error in left:
        observer.warning(f"{name} is left out: {error}")
    return sorted(listed)


def sized(
    names: Sequence[tuple[str, str]],
    open_store: Callable[[str], base.ReadableStore],
    *,
    concurrency: int,
    observer: Observer,
) -> list[RegistryImage]:
    """The images of a list with what their manifests and configs say.

    A value that cannot be read is None, and a warning says why.
    """

    def ask(name: tuple[str, str]) -> RegistryImage:
        repository, tag = name
        listed = RegistryImage(name=f"{repository}:{tag}")
        missing = "size and age"
        try:
            image = _Image.read(open_store(repository), tag)
            listed = dataclasses.replace(
                listed,
                digest=image.manifest.descriptor.digest,
                size=image.size,
            )
            missing = "age"
            return dataclasses.replace(listed, created=image.config().created)
        except errors.StoreError as error:
            observer.warning(f"{listed.name}: no {missing}: {error}")
            return listed

    with Workers(concurrency, keep_going=False) as workers:
        return workers.map(ask, names)


@dataclasses.dataclass(frozen=True, slots=True)
class _Image:
    """An image by its manifests.

    :ivar present: its images, where it is an index.
    :ivar shown: the one that is shown of an index, and its platform.
    """

    store: base.ReadableStore
    manifest: Manifest
    present: Sequence[tuple[Descriptor, Manifest]]
    shown: Manifest | None
    platform: str | None

    @classmethod
    def read(cls, store: base.ReadableStore, identifier: str) -> _Image:
        """Read an image.

        :raises StoreError: when it is not there, or cannot be read.
        """
        root = nearest.resolve(store, identifier)
        manifest = graph.fetch_manifest(store, root)
        present = _images(store, manifest)
        chosen = _representative(present)
        descriptor, shown = chosen or (None, None)
        platform = None
        if manifest.is_index and descriptor:
            platform = str(descriptor.platform or "unknown")
        return cls(store, manifest, present, shown, platform)

    def config(self) -> configs.ImageConfig:
        """The config of the image that is shown; empty for an artifact.

        :raises StoreError: when it cannot be read.
        """
        shown = self.shown
        if shown and shown.config and shown.config.media_type in _CONFIGS:
            return graph.fetch_config(self.store, shown)
        return configs.ImageConfig()

    @property
    def size(self) -> int:
        """Bytes of all blobs, each once."""
        blobs = {b.digest: b for _, image in self.present for b in image.blobs}
        return sum(blob.size for blob in blobs.values())


def _is_about_one(error: errors.StoreError) -> bool:
    """Whether a list is not available, though the registry answers others."""
    alone = errors.AccessDenied | errors.InvalidContent | errors.Refused
    return isinstance(error, alone) or (
        isinstance(error, errors.ServerFault) and error.isolated
    )


def _tags(store: base.ReadableStore, observer: Observer) -> Sequence[str]:
    """All tags, sorted; none where only these are not available."""
    try:
        return reading.tags(store)
    except errors.StoreError as error:
        if not _is_about_one(error):
            raise
        observer.warning(f"the tags are not known: {error}")
        return ()


def inspect(
    store: base.ReadableStore, reference: Reference, observer: Observer
) -> Details:
    """Describe an image in detail.

    :param observer: is told if the tags of the repository are not available.
    :raises StoreError: when it is not there, or cannot be read.
    """
    image = _Image.read(store, reference.identifier)
    root, shown = image.manifest.descriptor, image.shown
    config = image.config()
    return Details(
        name=reference.name
        if Location(reference.registry).is_registry
        else reference.repository,
        tag=None if reference.digest else reference.identifier,
        digest=root.digest,
        media_type=root.media_type,
        created=config.created,
        architecture=config.architecture,
        os=config.os,
        platforms=[
            str(child.platform or "unknown")
            for child in image.manifest.manifests
        ],
        platform=image.platform,
        sized=[
            str(descriptor.platform or "unknown")
            for descriptor, _ in image.present
            if image.manifest.is_index
        ],
        labels=config.labels,
        layers=[
            Layer(digest=layer.digest, size=layer.size)
            for layer in (shown.layers if shown else ())
        ],
        tags=_tags(store, observer),
        size=image.size,
    )


def _images(
    store: base.ReadableStore, root: Manifest
) -> list[tuple[Descriptor, Manifest]]:
    """The image itself, or those below an index that are in the repository.

    Of a copy for some platforms the index goes on naming the others.
    """
    if not root.is_index:
        return [(root.descriptor, root)]
    budget = graph.Budget(graph.MAX_BYTES, root.descriptor.digest)
    images = []
    todo = list(root.manifests)
    seen = set()
    while todo:
        child = todo.pop(0)
        known = child.is_manifest and child.digest not in seen
        seen.add(child.digest)
        if known and store.exists(child):
            budget.spend(child.size)
            manifest = graph.fetch_manifest(store, child)
            if manifest.is_index:
                todo += manifest.manifests
            else:
                images.append((child, manifest))
    return images


def _representative(
    images: Sequence[tuple[Descriptor, Manifest]],
) -> tuple[Descriptor, Manifest] | None:
    """The image for this host, else the usual one, else any."""
    for wanted in (graph.host_platform(), Platform("linux", "amd64")):
        for descriptor, manifest in images:
            if descriptor.is_for(wanted):
                return descriptor, manifest
    return images[0] if images else None
