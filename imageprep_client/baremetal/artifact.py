"""Disk images as an OCI index, of the form that Ironic deploys from.

For ``oci://HOST/REPOSITORY:TAG`` Ironic reads an index. Of its entries it
takes those whose ``platform.architecture`` is that of the node, prefers one
by the annotation ``disktype``, and wants a manifest that has one layer.
Entries with a disk type that it does not know are left out: kernels and
ramdisks are such entries, so that they are copied and kept with the others.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.baremetal import ramdisk
from imageprep_client.baremetal.disks import formats
from imageprep_client.baremetal.extracting import opened
from imageprep_client.host import inputs
from imageprep_client.observer import Observer
from imageprep_client.oci import document as documents
from imageprep_client.oci import mediatypes, platform
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base, verify
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy

ARTIFACT = "application/vnd.openstack.image-prepare.baremetal"
_FILE = "application/octet-stream"
_DISK_TYPE = "disktype"
_TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"
_TRIES = 10
#: Seconds in which another push may still write the index that it made before
#: it saw this one; three times what this one took where that is more.
_SETTLED, _SLOWER = 1.0, 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file to push.

    :ivar kind: ``disk``, ``kernel`` or ``ramdisk``.
    :ivar architecture: None: that of a kernel, else x86_64.
    """

    kind: str
    path: str
    architecture: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PushedFile:
    """An entry of the index.

    :ivar digest: of its manifest: ``oci://HOST/REPOSITORY@DIGEST``.
    """

    kind: str
    architecture: str
    digest: str
    size: int
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class PushedIndex:
    """The files that were pushed, and the bytes that travelled."""

    digest: str
    files: tuple[PushedFile, ...]
    entries: int
    copied: int


def push(
    files: Sequence[ArtifactFile],
    store: base.Store,
    tag: str,
    observer: Observer,
    *,
    concurrency: int = engine.CONCURRENCY,
    is_locked: bool = False,
) -> PushedIndex:
    """Push files, and let a tag name an index of them.

    Entries of an index that is there stay, unless they have the kind and the
    architecture of a new one. The tag is written last. A registry lets a push
    overwrite what another one has written meanwhile: the tag is looked at
    again a moment later.

    :param is_locked: whether no other push can write to the store.
    :raises InputError: nothing was pushed.
    :raises CopyError: the tag names what it named before.
    """
    references.check_tag(tag)
    pieces = _pieces(files)
    _entries(store, tag)  # names an index, or nothing
    copy = functools.partial(_copy, observer, concurrency)
    source = _Source(pieces, store)
    # The index is made when its files are there: they travel for minutes,
    # in which another run may write the tag.
    copied = copy(
        Copy(
            name=piece.path,
            source=source,
            reference=piece.descriptor.digest,
            destination=store,
            tag=None,
        )
        for piece in pieces
    )
    for _ in range(_TRIES):
        began = time.monotonic()
        index = _index(pieces, _entries(store, tag))
        digest = Descriptor.of(index, mediatypes.OCI_INDEX).digest
        copied += copy(
            [
                Copy(
                    name=f"{store.repository}:{tag}",
                    source=_Source(pieces, store, index),
                    reference=digest,
                    destination=store,
                    tag=tag,
                )
            ]
        )
        if not is_locked:
            spent = time.monotonic() - began
            # By chance, as two that wait equally long would not be the last.
            longer = random.uniform(1, 2)  # noqa: S311
            time.sleep(max(_SETTLED, _SLOWER * spent) * longer)
        entries = _entries(store, tag)
        if _holds(pieces, entries):
            return PushedIndex(
                base.resolve_ahead(store, tag).digest,
                tuple(piece.pushed for piece in pieces),
                len(entries),
                copied,
            )
        observer.note(f"{store}:{tag}: another run wrote it; once more")
    raise errors.Refused(
        f"{store}:{tag}: other runs write this tag again and again",
        hint="push to one tag from one place at a time",
    )


def _pieces(files: Sequence[ArtifactFile]) -> list[_Piece]:
    """The entries for files.

    :raises InputError: when there are none, or two for one place.
    """
    if not files:
        raise errors.InvalidArgument(
            "nothing to push", hint="give --image, --kernel or --ramdisk"
        )
    pieces: list[_Piece] = []
    for file in files:
        # A ramdisk does not say what it is for: it is for its kernel's.
        kernels = [p.architecture for p in pieces if p.kind == "kernel"]
        pieces.append(_piece(file, kernels[-1] if kernels else None))
    places = [(piece.kind, piece.architecture) for piece in pieces]
    for place in places:
        if places.count(place) > 1:
            raise errors.InvalidArgument(
                f"two files are {place[0]} for {place[1]}",
                hint="say which is for what: FILE,architecture=A",
            )
    return pieces


def metal3(
    store: base.ReadableStore, name: Reference, architecture: str
) -> dict[str, str]:
    """The ``image`` of a Metal3 host that deploys from an index.

    The digest pins the image, so no checksum is needed. Of raw and qcow2 it
    is raw, which a node can stream to its disk.

    :param name: of the index, at the registry as nodes reach it.
    :raises NotFound: when it has no disk for the architecture.
    """
    wanted = platform.architecture(architecture)
    entries = {
        _place(entry): entry for entry in _entries(store, name.identifier)
    }
    for kind in ("raw", "qcow2"):
        if entry := entries.get((kind, wanted)):
            return {
                "url": f"oci://{name.registry}/{name.repository}"
                f"@{entry.digest}",
                "format": kind,
            }
    disks = sorted({a for kind, a in entries if kind in ("raw", "qcow2")})
    raise errors.NotFound(
        f"{name}: no disk for {wanted}; there are: "
        + (", ".join(disks) or "none"),
        hint="push one: openstack image-prepare baremetal push LOCATION"
        " --image FILE",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Piece:
    """A file, its manifest and the entry of the index for it."""

    kind: str
    architecture: str
    path: str
    layer: Descriptor
    manifest: bytes

    @property
    def descriptor(self) -> Descriptor:
        return dataclasses.replace(
            Descriptor.of(self.manifest, mediatypes.OCI_MANIFEST),
            platform=Platform("linux", self.architecture),
            annotations={_DISK_TYPE: self.kind},
            artifact_type=ARTIFACT,
        )

    @property
    def pushed(self) -> PushedFile:
        return PushedFile(
            self.kind,
            self.architecture,
            self.descriptor.digest,
            self.layer.size,
            self.path,
        )


def _piece(file: ArtifactFile, default: str | None) -> _Piece:
    kind, architecture = file.kind, file.architecture
    if kind == "disk":
        with opened(file.path, formats.MAX_SIZE) as (_, format):
            kind = format.name
    else:
        with inputs.open_regular(file.path):
            if kind == "kernel":
                ramdisk.check(file.path, None)
                default = ramdisk.architecture(Path(file.path))
            else:
                ramdisk.check(None, file.path)
        architecture = architecture or default
    architecture = architecture or "x86_64"
    architecture = platform.architecture(architecture)
    Platform.parse(f"linux/{architecture}")
    with inputs.open_regular(file.path) as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        size = content.tell()
    if not size:
        raise errors.InvalidFile(file.path, "is empty")
    layer = Descriptor(
        _FILE,
        f"sha256:{digest}",
        size,
        annotations={_TITLE: Path(file.path).name},
    )
    config = Descriptor.of(_EMPTY, mediatypes.OCI_EMPTY)
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": config.to_json(),
        "layers": [layer.to_json()],
        "annotations": {_DISK_TYPE: kind},
    }
    return _Piece(
        kind, architecture, file.path, layer, documents.dump(manifest)
    )


def _entries(store: base.ReadableStore, tag: str) -> tuple[Descriptor, ...]:
    """The entries of the index that a tag names; none where it has none.

    :raises InvalidArgument: when it names something else.
    """
    try:
        descriptor = base.resolve_ahead(store, tag)
    except errors.NotFound:
        return ()
    if descriptor.media_type not in mediatypes.INDEXES:
        raise errors.InvalidArgument(
            f"{store}:{tag}: names an image, not an index of disks",
            hint="push to another tag",
        )
    return verify.manifest(store, descriptor).manifests


def _place(entry: Descriptor) -> tuple[str, str]:
    architecture = entry.platform.architecture if entry.platform else ""
    known = platform.architecture(architecture)
    return entry.annotations.get(_DISK_TYPE, ""), known


def _index(pieces: Sequence[_Piece], existing: Sequence[Descriptor]) -> bytes:
    new = {_place(piece.descriptor) for piece in pieces}
    entries = [entry for entry in existing if _place(entry) not in new]
    entries += [piece.descriptor for piece in pieces]
    entries.sort(key=lambda entry: (*_place(entry)[::-1], entry.digest))
    return documents.dump(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "artifactType": ARTIFACT,
            "manifests": [entry.to_json() for entry in entries],
        }
    )


def _holds(pieces: Sequence[_Piece], entries: Sequence[Descriptor]) -> bool:
    digests = {entry.digest for entry in entries}
    return all(piece.descriptor.digest in digests for piece in pieces)


def _copy(observer: Observer, concurrency: int, copies: Iterable[Copy]) -> int:
    """Copy, and return the bytes that travelled."""
    outcomes = engine.copy_all(
        list(copies), observer=observer, concurrency=concurrency
    )
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return sum(outcome.copied for outcome in outcomes)


class _Source:
    """Files as a store: what is not among them is at the destination."""

    registry = "files:"

    def __init__(
        self, pieces: Sequence[_Piece], other: base.Store, index: bytes = b""
    ) -> None:
        self.repository = other.repository
        self._other = other
        manifests = [p.manifest for p in pieces]
        self._manifests = {
            manifest.digest: manifest
            for manifest in (
                *(
                    Descriptor.of(m, mediatypes.OCI_MANIFEST)
                    for m in manifests
                ),
                Descriptor.of(index, mediatypes.OCI_INDEX),
            )
        }
        self._bytes = {
            Descriptor.of(content, "").digest: content
            for content in (index, _EMPTY, *manifests)
        }
        self._paths = {p.layer.digest: p.path for p in pieces}

    def __str__(self) -> str:
        return "files"

    def resolve(self, reference: str) -> Descriptor:
        known = self._manifests.get(reference)
        return known or self._other.resolve(reference)

    def exists(self, descriptor: Descriptor) -> bool:
        here = {*self._bytes, *self._paths}
        return descriptor.digest in here or self._other.exists(descriptor)

    def fetch(self, descriptor: Descriptor) -> base.Content:
        if descriptor.digest in self._bytes:
            content = self._bytes[descriptor.digest]
            return verify.from_bytes(content, descriptor)
        if descriptor.digest in self._paths:
            file = inputs.open_regular(self._paths[descriptor.digest])
            return verify.VerifiedContent(file, descriptor)
        return self._other.fetch(descriptor)
