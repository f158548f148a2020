"""Exports of machines: a root into an image or an archive."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.host.directory import Directory
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine import names, scrub
from imageprep_client.machine.archives import sums
from imageprep_client.machine.archives.packing import (
    PackedRoot,
    Writable,
    pack,
)
from imageprep_client.machine.image import LAYERS, MachineFacts, MachineImage
from imageprep_client.machine.replacement.journal import Journal
from imageprep_client.machine.roots import MachineRoot, clean_temporary, remove
from imageprep_client.machine.scrub import Category, Scrub, ScrubbedPath
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.programs import btrfs, lxc, systemd, tar
from imageprep_client.stores import base
from imageprep_client.transfer import engine

#: The endings of archives, and their compressions.
ENDINGS = {
    ".tar": "none",
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".tar.zst": "zst",
    ".tar.xz": "xz",
}
#: Seconds after which the file of a killed export is removed by the next one.
_STALE = 24 * 3600


@dataclasses.dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a root is exported.

    :ivar compression: ``gz``, ``zst``, ``xz`` or ``none``.
    :ivar as_is: leave nothing out.
    :ivar live: do not freeze a running container while it is read.
    """

    compression: str = "gz"
    as_is: bool = False
    live: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportedMachine:
    """The result of an export.

    :ivar digest: of the image, or of the archive.
    :ivar reading: ``stopped``, ``snapshot``, ``frozen`` or ``live``: how the
        root was read.
    :ivar scrubbed: what was left out or changed.
    :ivar bind_mounts: what is mounted into the machine, and not exported.
    :ivar copied: bytes that were sent to a store; 0 where it had the layer.
    """

    name: str
    service: str
    destination: str
    digest: str
    facts: MachineFacts
    packed: PackedRoot
    reading: str
    scrubbed: tuple[ScrubbedPath, ...]
    bind_mounts: tuple[str, ...]
    copied: int


def archive_compression(path: str) -> str | None:
    """The compression in the name of an archive; None for other names."""
    endings = sorted(ENDINGS, key=len, reverse=True)
    return next((ENDINGS[e] for e in endings if path.endswith(e)), None)


def is_archive(text: str) -> bool:
    """Whether a source or destination is a file, and no image in a store."""
    return (
        not text.startswith("docker://")
        and not references.is_transport(text)
        and archive_compression(text) is not None
    )


@dataclasses.dataclass(frozen=True, slots=True)
class RootExport:
    """An export of a root.

    :ivar journal: that of the root, which is locked while it is read.
    """

    root: MachineRoot
    journal: Journal
    options: ExportOptions
    observer: Observer

    def to_archive(self, path: Path) -> ExportedMachine:
        """Export into an archive, and note its checksum beside it.

        The archive, which only its owner can read, is in place when it is
        whole. ``SHA256SUMS`` in the same directory has a line for it.

        :raises InvalidArgument: when the root cannot be exported.
        :raises StoreError: when another command uses the root.
        :raises InvalidContent: when ``SHA256SUMS`` is no list of checksums.
        """
        sums.read(path.parent)
        directory = Directory(path.parent)
        try:
            directory.hold()
            directory.remove_stale("", time.time() - _STALE)
            with (
                directory.staged() as temporary,
                directory.create(temporary, 0o600) as file,
            ):
                written = disk.Writeback(
                    file.fileno(), self.observer.bytes_copied
                )
                exported = self._into(file, path.parent, written)
                os.fsync(file.fileno())
                directory.rename(temporary, path.name)
        except OSError as error:
            raise errors.InvalidFile(
                str(path), f"cannot be written: {errors.reason(error)}"
            ) from error
        finally:
            directory.close()
        checksum = exported.packed.digest.partition(":")[2]
        sums.note(path, checksum, self.observer)
        return dataclasses.replace(exported, destination=str(path))

    def to_store(
        self, store: base.Store, tag: str, scratch: Path
    ) -> ExportedMachine:
        """Export as an image into a store.

        The layer is written to a file first: its digest is known last, and
        nothing of it is sent where it is already.

        :param scratch: where that file is.
        :raises InvalidArgument: when the root cannot be exported.
        :raises StoreError: when another command uses the root.
        :raises CopyError: when the image cannot be copied.
        """
        compression = self.options.compression
        if compression not in LAYERS:
            raise errors.InvalidArgument(
                f"--compression {compression}: not supported for images",
                hint="choose gz, zst or none",
            )
        # Without a name, so that nothing is left when this is killed.
        with tempfile.TemporaryFile(dir=scratch, buffering=0) as file:
            try:
                exported = self._into(
                    file, scratch, self.observer.bytes_copied
                )
            except OSError as error:
                raise errors.StoreError(
                    f"{self.root.name}: cannot be packed in {scratch}:"
                    f" {errors.reason(error)}",
                    hint=f"free some space in {scratch}, where the layer is"
                    " kept until it is sent",
                ) from error
            image = MachineImage(
                Path(f"/proc/self/fd/{file.fileno()}"),
                exported.packed,
                LAYERS[compression],
                exported.facts,
                {
                    "service": exported.service,
                    "scrubbed": "false" if self.options.as_is else "true",
                },
                store.repository,
            )
            result = engine.copy(
                image,
                image.manifest.digest,
                store,
                tag,
                observer=self.observer,
                name=f"{store.repository}:{tag}",
            )
        return dataclasses.replace(
            exported, digest=image.manifest.digest, copied=result.copied
        )

    def _into(
        self, file: Writable, scratch: Path, advanced: Callable[[int], None]
    ) -> ExportedMachine:
        root = self.root
        _check_owner(root)
        with (
            _readable(root, self.journal, live=self.options.live) as (
                path,
                reading,
            ),
            _scratch(scratch, root.name) as temporary,
        ):
            scrubbed = _mounted(root.path)
            reader = ReadableDirectory(path)
            facts = MachineFacts.of(reader)
            if not self.options.as_is:
                scrubbed = [*scrub.scan(reader), *scrubbed]
                scrubbed += _devices(root.name, path, scrubbed)
            reader.close()
            packed = pack(
                path,
                file,
                compression_name=self.options.compression,
                scrubbed=scrubbed,
                scratch=temporary,
                advanced=advanced,
            )
        for line in packed.changed[:5]:
            self.observer.warning(f"{root.name}: {line}")
        return ExportedMachine(
            name=root.name,
            service=names.service(root.name),
            destination="",
            digest=packed.digest,
            facts=facts,
            packed=packed,
            reading=reading,
            scrubbed=tuple(scrubbed),
            bind_mounts=tuple(root.bind_mounts),
            copied=packed.size,
        )


def _check_owner(root: MachineRoot) -> None:
    if root.is_shifted:
        raise errors.InvalidArgument(
            f"{root.name}: the owners of its files are shifted; root of the"
            f" machine is user {root.path.stat().st_uid} on this host",
            hint="export a root without lxc.idmap or PrivateUsers, since an"
            " image has the owners that the machine sees",
        )


@contextlib.contextmanager
def _readable(
    root: MachineRoot, journal: Journal, *, live: bool
) -> Iterator[tuple[Path, str]]:
    """A directory where the root can be read, as it is at one moment.

    :returns: the directory, and how it is read; see `ExportedMachine`.
    """
    with contextlib.ExitStack() as stack:
        # A replacement may delete the root that is read, and another export
        # would thaw the machine.
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(journal.locked())
        state = root.state()
        path, reading = stack.enter_context(root.files()), "live"
        if state == "stopped":
            reading = "stopped"
        elif root.is_subvolume and not btrfs.nested(root.path):
            path = stack.enter_context(_snapshot(root))
            reading = "snapshot"
            lock.close()
        elif (
            state == "running"
            and not live
            and stack.enter_context(_frozen(root))
        ):
            reading = "frozen"
        yield path, reading


@contextlib.contextmanager
def _frozen(root: MachineRoot) -> Iterator[bool]:
    """Freeze a running machine in the block.

    :returns: whether it is frozen.
    """
    if root.is_lxc:
        with lxc.LxcContainer(root.store.path, root.name).frozen():
            yield True
        return
    with systemd.frozen(systemd.machine_unit(root.name)) as is_frozen:
        yield is_frozen


@contextlib.contextmanager
def _scratch(above: Path, name: str) -> Iterator[Path]:
    """A directory for copies; those of killed exports are removed."""
    path = clean_temporary(above, name, "pack")
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        remove(path)


@contextlib.contextmanager
def _snapshot(root: MachineRoot) -> Iterator[Path]:
    path = clean_temporary(root.path.parent, root.name, "export")
    try:
        btrfs.snapshot(root.path, path, read_only=True)
        yield path
    finally:
        if path.is_dir():
            btrfs.delete(path)


def _mounted(root: Path) -> list[ScrubbedPath]:
    """The mounts below the root on this host, which are not part of it."""
    top = f"{root.resolve()}/"
    points = [
        point.removeprefix(top)
        for point in disk.mounts_below(root)
        if point.startswith(top)
    ]
    return [
        ScrubbedPath(point, Category.VOLATILE, Scrub.CLEAR)
        for point in points
        if (root / point).is_dir()
    ]


def _devices(
    name: str, root: Path, scrubbed: Sequence[ScrubbedPath]
) -> list[ScrubbedPath]:
    """The devices that are left out because an import refuses them.

    :raises InvalidArgument: when a name has control characters, which an
        import refuses as well.
    """
    above = tuple(f"{entry.path}/" for entry in scrubbed)
    devices, odd = (
        [path for path in paths if not f"{path}/".startswith(above)]
        for paths in tar.misfits(root)
    )
    if odd:
        raise errors.InvalidArgument(
            f"{name}: {odd[0]!r} has control characters in its name, which an"
            " import refuses",
            hint="rename or remove it, or export with --as-is",
        )
    return [
        ScrubbedPath(path, Category.VOLATILE, Scrub.REMOVE) for path in devices
    ]
