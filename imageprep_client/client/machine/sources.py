"""Sources of machines: images in stores, and archives here or at URLs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client.locations import located
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.state import state_directory
from imageprep_client.client.stores import Stores
from imageprep_client.host import inputs
from imageprep_client.http import urls
from imageprep_client.http.transport import TLS, Transport
from imageprep_client.machine import exporting, importing
from imageprep_client.machine.archives import (
    UnpackedRoot,
    UnpackLimits,
    unpack,
)
from imageprep_client.machine.image import layer_of
from imageprep_client.machine.sources.fetching import Fetcher
from imageprep_client.machine.sources.quarantine import (
    Quarantine,
    QuarantinedFile,
)
from imageprep_client.machine.sources.verification import (
    ExpectedChecksum,
    SignedLists,
    Verification,
)
from imageprep_client.observer import Observer
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base, verify
from imageprep_client.transfer import nearest

__all__ = [
    "MAX_SIZE",
    "MachineSource",
    "Verification",
    "VerifiedArchive",
    "open_source",
]

#: Bytes of an archive that is fetched.
MAX_SIZE = 64 << 30
_SCHEMES = ("http://", "https://")


@dataclasses.dataclass(frozen=True, slots=True)
class MachineSource:
    """The source of the files of a root, and how it is verified.

    :ivar location: of an image, a path or an HTTP URL.
    :ivar max_size: bytes of the archive, and four times of its files.
    :ivar declared: see `machine.archives.unpack`.
    """

    location: str
    verification: Verification = dataclasses.field(
        default_factory=Verification
    )
    registries: RegistryOptions = dataclasses.field(
        default_factory=RegistryOptions
    )
    max_size: int = MAX_SIZE
    declared: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class VerifiedArchive:
    """An archive that was verified.

    :ivar source: what it was taken from.
    :ivar name: for messages.
    :ivar digest: of the archive; of an image, that of its manifest.
    :ivar verified_by: such as ``digest`` or ``signature of FINGERPRINT``.
    :ivar open: opens the content, which is verified again while it is read.
    """

    source: MachineSource
    name: str
    digest: str
    verified_by: str
    open: Callable[[], base.Content]

    def unpack(self, place: Path, directory: Path) -> UnpackedRoot:
        """Unpack it; see `machine.archives.unpack`.

        :param place: where the root will be, for messages.
        :raises InvalidContent: when it is no root of a machine.
        """
        with self.open() as content:
            unpacked = unpack(
                content,
                directory,
                name=self.name,
                place=place,
                limits=UnpackLimits(size=4 * self.source.max_size),
                declared=self.source.declared,
            )
        importing.check_root(directory, self.name)
        return unpacked


@contextlib.contextmanager
def open_source(
    source: MachineSource,
    observer: Observer,
    is_needed: Callable[[str], bool] = lambda _: True,
) -> Iterator[VerifiedArchive]:
    """Verify a source; a downloaded file is removed after the block.

    :param is_needed: is called with the digest if it is known before the
        content; if it returns False, nothing is fetched and the archive
        cannot be opened.
    :raises InvalidArgument: when it is no source or cannot be verified.
    :raises StoreError: when it cannot be fetched or has another checksum.
    """
    source = dataclasses.replace(
        source, verification=source.verification.check()
    )
    state = state_directory("machine")
    quarantine = Quarantine(state / "quarantine")
    lists = SignedLists(state / "seen")
    with contextlib.ExitStack() as stack:
        if source.location.startswith(_SCHEMES):
            cacert = source.registries.cacert
            transport = Transport(TLS(ca_files=(cacert,) if cacert else ()), 1)
            stack.callback(transport.close)
            fetcher = Fetcher(transport, observer, limit=source.max_size)
            archive = _fetched(
                source, quarantine, lists, fetcher, observer, is_needed
            )
        elif _is_path(source.location):
            archive = _local(source, lists)
        else:
            archive = _image(source, quarantine, observer, is_needed)
        yield stack.enter_context(archive)


def _is_path(source: str) -> bool:
    # An image has a repository, and so a slash.
    return (
        not {"/", ":"} & set(source)
        or source.startswith(("/", "./", "../"))
        or exporting.is_archive(source)
    )


@contextlib.contextmanager
def _local(
    source: MachineSource, lists: SignedLists
) -> Iterator[VerifiedArchive]:
    path = Path(source.location).absolute()

    def read(name: str, limit: int) -> bytes:
        beside = path.parent / name
        if not beside.exists():
            raise errors.NotFound(f"{beside}: no such file")
        return inputs.load(str(beside), limit)

    with inputs.open_regular(path) as opened:
        file = QuarantinedFile(path, opened.fileno())
        expected = lists.expected(
            source.verification, str(path.parent), path.name, read
        )
        yield _checked(source, file, expected, str(path))


@contextlib.contextmanager
def _fetched(
    source: MachineSource,
    quarantine: Quarantine,
    lists: SignedLists,
    fetcher: Fetcher,
    observer: Observer,
    is_needed: Callable[[str], bool],
) -> Iterator[VerifiedArchive]:
    url = source.location
    shown = urls.shown(url)
    parts = urllib.parse.urlsplit(url)
    folder, _, last = parts.path.rpartition("/")
    name = urllib.parse.unquote(last)
    urls.origin(url)
    if "@" in parts.netloc:
        raise errors.InvalidArgument(
            f"{shown}: a user in a URL is not supported",
            hint="fetch it by another program, and give the file",
        )
    if not name or "/" in name or not name.isprintable():
        raise errors.InvalidArgument(f"{shown}: names no file")
    place = urllib.parse.urlunsplit(parts._replace(path=folder, query=""))

    def read(name: str, limit: int) -> bytes:
        return fetcher.small(f"{place}/{name}", limit)

    expected = lists.expected(
        source.verification, urls.shown(place), name, read
    )
    if expected.hex and not is_needed(f"sha256:{expected.hex}"):
        digest = f"sha256:{expected.hex}"
        yield _unopened(source, shown, digest, expected.origin)
        return
    key = f"sha256-{expected.hex}" if expected.hex else _key(url)
    with quarantine.file(key, shown, observer.waiting) as file:
        resumed = file.size > 0
        fetcher.into(url, file, known=bool(expected.hex))
        try:
            archive = _checked(source, file, expected, shown)
        except errors.DigestMismatch:
            file.clear()
            if not resumed:
                file.remove()
                raise
            # The file of an earlier run may not be the beginning of it.
            fetcher.into(url, file, known=True)
            try:
                archive = _checked(source, file, expected, shown)
            except errors.DigestMismatch:
                file.remove()
                raise
        try:
            yield archive
        finally:
            file.remove()


def _key(url: str) -> str:
    return "url-" + digests.of(url.encode()).partition(":")[2]


@contextlib.contextmanager
def _image(
    source: MachineSource,
    quarantine: Quarantine,
    observer: Observer,
    is_needed: Callable[[str], bool],
) -> Iterator[VerifiedArchive]:
    shown = source.location
    if source.verification.checksum or source.verification.keyring:
        raise errors.InvalidArgument(
            f"{shown}: an image is verified by its digest, not by --checksum"
            " or --keyring",
            hint="pin it: HOST/REPOSITORY@sha256:...; a signature policy is"
            " --signature-policy",
        )
    place, name = located(shown)
    with Stores(source.registries, observer) as stores:
        store = stores.reading(place, name.repository)
        root = nearest.resolve(store, name.digest or name.tag or "latest")
        if not name.digest:
            observer.note(f"{shown}: is {root.digest}")
        # The policy is about the name as it was given: a signature for one
        # tag says nothing about another one.
        reference = Reference(place, name.repository, name.tag, name.digest)
        manifest, layer = layer_of(store, root)
        if not references.is_transport(place):
            admission = stores.admission(reference)
            if admission is not None:
                admission.admit(store, [manifest])
        if not is_needed(root.digest):
            yield _unopened(source, shown, root.digest, "digest")
            return
        if layer.size > source.max_size:
            raise errors.StoreError(
                f"{shown}: its layer has {layer.size} bytes",
                hint="allow more with --max-size",
            )
        key = layer.digest.replace(":", "-")
        with quarantine.file(key, shown, observer.waiting) as file:
            _take(store, layer, file)
            expected = ExpectedChecksum(
                layer.digest.partition(":")[2], "digest"
            )
            checked = _checked(source, file, expected, shown)
            try:
                yield dataclasses.replace(checked, digest=root.digest)
            finally:
                file.remove()


def _take(
    store: base.ReadableStore, layer: Descriptor, file: QuarantinedFile
) -> None:
    """Bring a layer into quarantine; the end of it where that is enough."""
    offset = file.size
    if offset > layer.size or not isinstance(store, base.FetchesFrom):
        file.clear()
        offset = 0
    if offset == layer.size:
        return
    if offset and isinstance(store, base.FetchesFrom):
        content = store.fetch_from(layer, offset)
    else:
        content = store.fetch(layer)
    with content:
        while data := content.read(1 << 20):
            file.append(data)


def _checked(
    source: MachineSource,
    file: QuarantinedFile,
    expected: ExpectedChecksum,
    name: str,
) -> VerifiedArchive:
    """The archive in a file.

    :raises DigestMismatch: when it has another checksum.
    """
    actual = file.digest()
    if expected.hex and actual != expected.hex:
        raise errors.DigestMismatch(
            f"{name}: the SHA-256 is {actual}, expected {expected.hex}",
            actual=f"sha256:{actual}",
            temporary=False,
        )
    descriptor = Descriptor("", f"sha256:{actual}", file.size)
    return VerifiedArchive(
        source,
        name,
        descriptor.digest,
        expected.origin,
        functools.partial(_content, file.descriptor, descriptor, name),
    )


def _unopened(
    source: MachineSource, name: str, digest: str, origin: str
) -> VerifiedArchive:
    """A source whose content is not needed, and was not fetched."""

    def refuse() -> base.Content:
        raise errors.NotFound(f"{name}: was not fetched")

    return VerifiedArchive(source, name, digest, origin, refuse)


def _content(
    number: int, descriptor: Descriptor, name: str
) -> verify.VerifiedContent:
    # Each reader has a position of its own.
    opened = os.open(f"/proc/self/fd/{number}", os.O_RDONLY)
    return verify.VerifiedContent(io.FileIO(opened), descriptor, name)
