"""The content of an image: a manifest's successors, walked within bounds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform as host
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from imageprep_client import errors
from imageprep_client.oci import config as configs
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.oci.platform import Platform
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base, verify
from imageprep_client.transfer.known import KnownContent

# Real indexes are one or two levels deep and name some tens of manifests;
# these bounds keep a hostile one from exhausting memory.
_MAX_DEPTH = 4
_MAX_MANIFESTS = 1024
#: Bytes of all manifests of an image, and of all artifacts that are attached
#: to one. They are kept in memory until they are written; real ones have some
#: kilobytes each.
MAX_BYTES = 64 * 1024 * 1024

# The transport repeats failed requests; damaged content is read again here.
_POLICY = RetryPolicy(attempts=6, base=0.1, cap=2.0)

_ATTESTATION = (
    "it is no image but an attestation, which a registry that copies images on"
    " demand may lack; leave multi_arch out, or name platforms, to copy only"
    " images"
)

T = TypeVar("T")

_MACHINES = {
    "x86_64": Platform("linux", "amd64"),
    "aarch64": Platform("linux", "arm64"),
    "ppc64le": Platform("linux", "ppc64le"),
    "s390x": Platform("linux", "s390x"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class AllPlatforms:
    """An index is copied unchanged, with all its images."""

    def wants(self, child: Descriptor) -> bool:
        """Whether a child of an index has to be taken with it."""
        return True


@dataclasses.dataclass(frozen=True, slots=True)
class SomePlatforms:
    """An index is copied unchanged, with the images for these platforms.

    It still names the other images.
    """

    platforms: tuple[Platform, ...]

    def wants(self, child: Descriptor) -> bool:
        """Whether a child of an index has to be taken with it."""
        if child.media_type in mediatypes.INDEXES:
            return True
        return any(map(child.is_for, self.platforms))

    def __str__(self) -> str:
        return " or ".join(map(str, self.platforms))


@dataclasses.dataclass(frozen=True, slots=True)
class OnePlatform:
    """The image for this platform is copied in place of an index."""

    platform: Platform

    def wants(self, child: Descriptor) -> bool:
        """Whether a child of an index has to be taken with it."""
        return True


Platforms = AllPlatforms | SomePlatforms | OnePlatform
ALL_PLATFORMS = AllPlatforms()


class Budget:
    """Bytes of manifests that may be kept in memory together.

    Each manifest is bounded by itself; this bounds their sum. Safe for use by
    several threads.

    :param what: the name of the whole in messages.
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit = self._left = limit
        self._what = what
        self._lock = threading.Lock()

    def spend(self, size: int) -> None:
        """Count manifests of `size` bytes.

        :raises InvalidContent: when the budget does not suffice.
        """
        with self._lock:
            self._left -= size
            spent = self._left < 0
        if spent:
            raise errors.InvalidContent(
                f"{self._what}: over {self._limit} bytes of manifests"
            )


@dataclasses.dataclass(frozen=True)
class Graph:
    """All content of one image.

    :ivar manifests: children before the manifests that name them; the root
        is the last.
    :ivar blobs: configs and layers, each digest once.
    """

    manifests: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Manifest:
        return self.manifests[-1]

    @functools.cached_property
    def digests(self) -> frozenset[str]:
        return frozenset(blob.digest for blob in self.blobs)

    @property
    def platforms(self) -> list[Platform]:
        """The platforms that indexes name, except those of attestations."""
        return [
            child.platform
            for manifest in self.manifests
            for child in manifest.manifests
            if child.platform and not _is_attestation(child)
        ]

    @property
    def weight(self) -> int:
        """Bytes of all manifests together."""
        return sum(manifest.descriptor.size for manifest in self.manifests)

    @property
    def size(self) -> int:
        """Bytes of all manifests and blobs together."""
        return self.weight + sum(blob.size for blob in self.blobs)


def host_platform() -> Platform:
    """The platform whose image is taken when only one is wanted."""
    return _MACHINES.get(host.machine(), _MACHINES["x86_64"])


def fetch_manifest(
    store: base.ReadableStore | None,
    descriptor: Descriptor,
    known: KnownContent | None = None,
) -> Manifest:
    """The manifest or index, verified and parsed.

    :param store: None: nothing is fetched.
    :param known: is asked first, and keeps what was fetched.
    :raises InvalidContent: when the descriptor does not match.
    """
    content = known.get(descriptor) if known else None
    if content is not None:
        return manifests.parse(
            content, descriptor.media_type, descriptor.digest
        )
    if store is None:
        raise errors.NotFound(f"{descriptor.digest}: was not read")
    manifest = _again(lambda: verify.manifest(store, descriptor))
    if known:
        known.add(descriptor.digest, manifest.content)
    return manifest


def fetch_config(
    store: base.ReadableStore,
    manifest: Manifest,
    known: KnownContent | None = None,
    nearby: base.ReadableStore | None = None,
) -> configs.ImageConfig:
    """The config of an image, verified; an empty one where it has none.

    :param known: is asked first, and keeps what was fetched.
    :param nearby: a store of this host that may have the config, too.
    :raises InvalidContent: when it is no image config.
    """
    config = manifest.config
    if config is None:
        return configs.ImageConfig()
    content = known.get(config) if known else None
    if content is None and nearby is not None:
        with contextlib.suppress(errors.StoreError):
            content = _config(nearby, config)
    if content is None:
        content = _again(lambda: _config(store, config))
        if known:
            known.add(config.digest, content)
    return configs.parse(content, config.digest)


def _config(store: base.ReadableStore, config: Descriptor) -> bytes:
    return verify.read_all(
        store.fetch(config), configs.MAX_SIZE, config.digest
    )


def _again(read: Callable[[], T]) -> T:
    """Read something small, again if it was damaged in transit."""
    return _POLICY.repeat(read, errors.InvalidContent, errors.ServerFault)


def choose(index: Manifest, wanted: Platform) -> Descriptor:
    """The child of an index for this platform.

    The only child of an index is returned for any platform. So is an image
    that names no platform, if all other children are attestations.

    :raises NotFound: when no child is for the platform; the message lists the
        platforms of the index.
    """
    children = index.manifests
    for child in children:
        if child.is_for(wanted):
            return child
    if len(children) == 1:
        return children[0]
    images = [child for child in children if not _is_attestation(child)]
    if len(images) == 1 and not (
        str(images[0].platform or "") or images[0].artifact_type
    ):
        return images[0]
    raise errors.NotFound(
        f"{index.descriptor.digest}: no image for {wanted} in the index,"
        f" only for {_known(index)}",
        hint="multi_arch: true in an entry, or --multi-arch of push, copies"
        " every platform",
    )


def _is_attestation(child: Descriptor) -> bool:
    return child.platform is not None and child.platform.os == "unknown"


def _known(index: Manifest) -> str:
    """The platforms of an index, for messages."""
    known = [str(c.platform) for c in index.manifests if c.platform]
    return ", ".join(known) or "no platform"


def walk(
    store: base.ReadableStore | None,
    descriptor: Descriptor,
    platforms: Platforms = ALL_PLATFORMS,
    *,
    known: KnownContent | None = None,
    external: bool = False,
) -> Graph:
    """Fetch the manifests below `descriptor`, and list their content.

    :param store: None: nothing is fetched.
    :param platforms: the images that are wanted of an index.
    :param known: content that need not be fetched.
    :param external: list non-distributable layers with URLs as well.
    :raises NotFound: when an index has none of the images wanted.
    :raises InvalidContent: when the graph is deeper or larger than any real
        one, or a manifest does not match its descriptor.
    """
    root = fetch_manifest(store, descriptor, known)
    if isinstance(platforms, OnePlatform):
        for _ in range(_MAX_DEPTH):
            if not root.is_index:
                break
            child = choose(root, platforms.platform)
            root = fetch_manifest(store, child, known)
    ordered: dict[str, Manifest] = {}
    visit = _Visit(store, platforms, ordered, known)
    visit.add(root, [], depth=1)
    some = isinstance(platforms, SomePlatforms)
    if some and root.is_index and len(ordered) == 1:
        raise errors.NotFound(
            f"{root.descriptor.digest}: no image for {platforms} in the index,"
            f" only for {_known(root)}"
        )
    blobs = {b.digest: b for m in ordered.values() for b in m.blobs}
    if external:
        blobs |= {b.digest: b for m in ordered.values() for b in m.external}
    return Graph(tuple(ordered.values()), tuple(blobs.values()))


def has_images(
    store: base.ReadableStore,
    descriptor: Descriptor,
    platforms: Platforms = ALL_PLATFORMS,
) -> bool:
    """Whether the images of an index that are wanted are in the store.

    Neither their content is checked, nor children of unknown types, since it
    is not known where a registry keeps those.

    :param platforms: as for `walk`; False when the index has none of them.
    """
    todo = [descriptor]
    seen: set[str] = set()
    while todo:
        try:
            index = fetch_manifest(store, todo.pop())
        except errors.NotFound:
            return False
        for child in index.manifests:
            if child.digest in seen or not platforms.wants(child):
                continue
            if len(seen) >= _MAX_MANIFESTS:
                return False
            seen.add(child.digest)
            if child.media_type in mediatypes.INDEXES:
                todo.append(child)
            elif child.is_manifest and not store.exists(child):
                return False
    return bool(seen) or not isinstance(platforms, SomePlatforms)


@dataclasses.dataclass(frozen=True, slots=True)
class _Visit:
    """Walks the manifests below a root, within bounds."""

    store: base.ReadableStore | None
    platforms: Platforms
    ordered: dict[str, Manifest]
    known: KnownContent | None

    def add(
        self, manifest: Manifest, path: Sequence[str], *, depth: int
    ) -> None:
        """Add `manifest` to `ordered` after everything wanted below it."""
        name = manifest.descriptor.digest
        if depth > _MAX_DEPTH:
            raise errors.InvalidContent(
                f"{name}: indexes nested deeper than {_MAX_DEPTH}"
            )
        for child in manifest.manifests:
            if child.digest in path:
                raise errors.InvalidContent(
                    f"{name}: index names its own parent"
                )
            if child.digest in self.ordered or not self.platforms.wants(child):
                continue
            self._check(name, child, path)
            try:
                below = fetch_manifest(self.store, child, self.known)
            except errors.NotFound as error:
                if _is_attestation(child):
                    error.hint = error.hint or _ATTESTATION
                raise
            self.add(below, [*path, name], depth=depth + 1)
        self.ordered[name] = manifest

    def _check(
        self, name: str, child: Descriptor, path: Sequence[str]
    ) -> None:
        """Refuse a child that exceeds a bound or is no manifest."""
        if len(self.ordered) + len(path) >= _MAX_MANIFESTS:
            raise errors.InvalidContent(
                f"{name}: more than {_MAX_MANIFESTS} manifests in one image"
            )
        size = sum(m.descriptor.size for m in self.ordered.values())
        if size + child.size > MAX_BYTES:
            raise errors.InvalidContent(
                f"{name}: over {MAX_BYTES} bytes of manifests in one image"
            )
        if not child.is_manifest:
            raise errors.InvalidContent(
                f"{name}: index names {child.media_type}, which is no manifest"
                " of a kind that is known here",
                hint="leave multi_arch out, or name platforms, to copy only"
                " images that are known",
            )
