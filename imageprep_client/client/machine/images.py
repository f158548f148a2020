"""The composition root of images of machines in stores and archives."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client.locations import tagged
from imageprep_client.client.machine.sources import MachineSource, open_source
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.state import state_directory
from imageprep_client.client.stores import Stores
from imageprep_client.machine import (
    exporting,
    importing,
    lxc_cache,
    publishing,
    roots,
)
from imageprep_client.machine.archives import UnpackedRoot, sums
from imageprep_client.machine.exporting import (
    ExportedMachine,
    ExportOptions,
    RootExport,
)
from imageprep_client.machine.lxc_cache import CachedBase
from imageprep_client.machine.replacement.journal import Journal
from imageprep_client.machine.roots import MachineRoot
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes, redaction
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base

__all__ = [
    "COMPRESSIONS",
    "SCRATCH",
    "CachedBase",
    "Export",
    "ExportOptions",
    "ExportedMachine",
    "ImportedMachine",
    "fill_cache",
    "import_machine",
    "prepare_export",
    "publish",
]

publish = publishing.publish

COMPRESSIONS = ("gz", "zst", "xz", "none")
#: Where layers are before they are in a store; /tmp may be memory.
SCRATCH = Path("/var/tmp")  # noqa: S108 - the names in it are not guessable
#: The cache of LXC, unless LXC_CACHE_PATH names another one.
LXC_CACHE = "/var/cache/lxc"


@dataclasses.dataclass(frozen=True, slots=True)
class Export:
    """An export that can begin.

    :ivar is_registry: whether others can get what is exported.
    """

    root: MachineRoot
    destination: str
    options: ExportOptions
    is_registry: bool

    def present(self, options: RegistryOptions, observer: Observer) -> str:
        """The digest of what is at the destination; empty: nothing is."""
        if exporting.is_archive(self.destination):
            path = Path(self.destination).absolute()
            listed = ""
            if path.is_file():
                listed = sums.read(path.parent).sums.get(path.name, "")
            return f"sha256:{listed}" if listed else ""
        with _store(self.destination, options, observer) as (_, store):
            _, name = tagged(self.destination)
            try:
                return store.resolve(name.tag).digest
            except errors.NotFound:
                return ""

    def run(
        self, options: RegistryOptions, observer: Observer
    ) -> ExportedMachine:
        """Export the machine; see `machine.exporting`.

        :raises InvalidArgument: when nothing was written.
        :raises StoreError: likewise, when another command uses the root.
        """
        journal = Journal(state_directory("machine"), self.root.path)
        export = RootExport(self.root, journal, self.options, observer)
        if exporting.is_archive(self.destination):
            return export.to_archive(Path(self.destination).absolute())
        with _store(self.destination, options, observer) as (stores, store):
            place, name = tagged(self.destination)
            if stores.is_open(place, name.repository):
                raise errors.InvalidArgument(
                    f"{place}: is reached without verified TLS, and a root"
                    " may have secrets",
                    hint="give its authority with --cacert, in place of"
                    " --insecure-registry",
                )
            with stores.locked(observer.waiting):
                # Reading takes long and may freeze the machine.
                _reach(store, name.tag)
                exported = export.to_store(store, name.tag, SCRATCH)
        return dataclasses.replace(exported, destination=self.destination)


def _reach(store: base.Store, tag: str) -> None:
    """Check that a destination takes content.

    Some registries refuse a look for what is not there yet; then a blob of
    two bytes is pushed, which no image needs.

    :raises StoreError: when it does not.
    """
    try:
        with suppress(errors.NotFound, errors.InvalidContent):
            store.resolve(tag)
    except (errors.AccessDenied, errors.Refused):
        blob = b"{}"
        store.push(Descriptor.of(blob, mediatypes.OCI_EMPTY), io.BytesIO(blob))


def prepare_export(
    name: str,
    destination: str,
    *,
    store: str | None,
    compression: str | None,
    as_is: bool,
    live: bool,
) -> Export:
    """Check that a machine can be exported; nothing is written.

    :param compression: None: what the name of an archive says, else gzip.
    :raises InvalidArgument: when it cannot.
    """
    root = roots.find(name, store)
    said = exporting.archive_compression(destination)
    if exporting.is_archive(destination):
        if compression is not None and compression != said:
            raise errors.InvalidArgument(
                f"--compression {compression}: {destination} is the name of"
                " another kind of archive"
            )
        if not destination.rpartition("/")[2].isprintable():
            raise errors.InvalidArgument(
                f"{destination}: SHA256SUMS cannot have a name like this",
                hint="leave control characters out of the name",
            )
        compression = said
        registry = False
    else:
        last = destination.rpartition("/")[2]
        if (
            destination.startswith(("/", "./", "../"))
            or not {"/", ":"} & set(destination)
            or ".tar." in last
        ):
            raise errors.InvalidArgument(
                f"{destination}: archives of this kind cannot be written",
                hint=f"its name ends in {', '.join(exporting.ENDINGS)}",
            )
        tagged(destination)
        registry = not references.is_transport(destination)
    _check_root("read a whole machine")
    options = ExportOptions(compression or "gz", as_is, live)
    return Export(root, destination, options, registry)


@contextmanager
def _store(
    location: str, options: RegistryOptions, observer: Observer
) -> Iterator[tuple[Stores, base.Store]]:
    place, name = tagged(location)
    with Stores(options, observer) as stores:
        yield stores, stores.destination(place, name.repository)


@dataclasses.dataclass(frozen=True, slots=True)
class ImportedMachine:
    """A machine that was imported.

    :ivar digest: of the archive, or of the image.
    :ivar verified_by: what says that the source is what it has to be.
    """

    root: MachineRoot
    source: str
    digest: str
    verified_by: str
    unpacked: UnpackedRoot


def import_machine(
    name: str,
    source: MachineSource,
    observer: Observer,
    *,
    store: str | None,
    read_only: bool,
) -> ImportedMachine:
    """Verify a source and make a new machine of it.

    :param store: see `machine.roots.open_store`.
    :raises InvalidArgument: when nothing was fetched.
    :raises StoreError: when no machine was made.
    """
    _check_root("unpack a machine")
    place = importing.target(name, roots.open_store(store or "machines"))
    with open_source(source, observer) as archive:
        root, unpacked = importing.import_root(
            place, archive.unpack, read_only=read_only
        )
    return ImportedMachine(
        root,
        redaction.masked(source.location),
        archive.digest,
        archive.verified_by,
        unpacked,
    )


def fill_cache(
    source: MachineSource, observer: Observer
) -> tuple[CachedBase, bool]:
    """Verify a source and make containers of LXC of it from now on.

    :returns: the base in the cache, and whether it was there before.
    :raises StoreError: when the cache is as it was.
    """
    _check_root("unpack a machine")
    cache = Path(os.environ.get("LXC_CACHE_PATH") or LXC_CACHE)
    with open_source(
        source, observer, lambda digest: lxc_cache.find(cache, digest) is None
    ) as archive:
        known = lxc_cache.find(cache, archive.digest)
        if known is not None:
            return known, True
        filled = lxc_cache.fill(
            cache,
            archive.unpack,
            digest=archive.digest,
            archive=archive.name,
            observer=observer,
        )
    return filled, False


def _check_root(deed: str) -> None:
    if os.geteuid() != 0:
        raise errors.InvalidArgument(f"only root can {deed}")
