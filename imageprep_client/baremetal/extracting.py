"""Extracting kernel, ramdisk and root file system from a disk image.

Neither root privileges nor a raw copy of the whole disk are needed, and the
image is not changed. The root file system is copied byte for byte.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.baremetal import commandline, ramdisk
from imageprep_client.baremetal import system as systems
from imageprep_client.baremetal.boot import Kernel
from imageprep_client.baremetal.disks import formats
from imageprep_client.baremetal.disks.disk import DiskFormat
from imageprep_client.baremetal.system import Slices, System
from imageprep_client.host import descriptors, inputs, locks
from imageprep_client.host.disk import reported
from imageprep_client.observer import SILENT, Observer
from imageprep_client.programs.qemu import QemuDisk

KERNEL = "vmlinuz"
RAMDISK = "initramfs"
ROOT = "root.raw"
CHECKSUMS = "SHA256SUMS"
MANIFEST = "manifest.json"
#: The parts that can be extracted, and their files.
PARTS: Mapping[str, str] = {"kernel": KERNEL, "ramdisk": RAMDISK, "root": ROOT}
_STAGING = ".imageprep-extract-"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """A request for parts of a disk.

    :ivar image: the file of the disk.
    :ivar output_directory: is made if it does not exist; files of the same
        names are replaced.
    :ivar kernel: the version to take; None: the newest.
    :ivar root_lv: the logical volume of the root, ``vg/lv``, where several
        volumes may be it.
    :ivar only: of `PARTS`, what to write; empty: all.
    :ivar append: options to add to the command line.
    :ivar max_size: GiB that the disk may have.
    """

    image: str
    output_directory: str
    kernel: str | None = None
    root_lv: str | None = None
    only: Sequence[str] = ()
    append: str | None = None
    max_size: int = formats.MAX_SIZE


@dataclasses.dataclass(frozen=True, slots=True)
class ExtractedFile:
    """A file that was written."""

    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class ExtractResult:
    """The result of an extraction.

    :ivar notes: what the operator should know.
    """

    files: tuple[ExtractedFile, ...]
    kernel_version: str
    architecture: str
    command_line: str
    notes: tuple[str, ...]


@contextlib.contextmanager
def opened(path: str, max_size: int) -> Iterator[tuple[QemuDisk, DiskFormat]]:
    """The disk in an image file, whose format was inspected before.

    :param max_size: GiB that it may have.
    :raises InvalidFile: when it is not safe to open.
    """
    with inputs.open_regular(path) as file:
        format = formats.inspect(file, path, max_size * formats.GIB)
        disk = QemuDisk(file.fileno(), path, format.name, format.virtual_size)
        disk.check()
        yield disk, format


def extract(
    request: ExtractRequest, observer: Observer = SILENT
) -> ExtractResult:
    """Write the files, a list of their checksums and a manifest.

    All of them are renamed into place at the end.

    :raises InvalidFile: when the image cannot be used; nothing was written.
    :raises NoSpace: when there is no room for the files; none was written.
    :raises StoreError: when the directory cannot be written.
    """
    parts = set(request.only) or set(PARTS)
    directory = Path(request.output_directory)
    with (
        opened(request.image, request.max_size) as (disk, format),
        _staging(directory) as (staging, place),
        # Told while what has no room is there.
        reported(directory),
    ):
        slices = Slices(disk, staging, format.virtual_size)
        system = systems.find(disk, slices, request.root_lv)
        kernel = _kernel(system, request, parts)
        line = None
        if kernel:
            line = commandline.of(
                system, kernel, request.append, image=request.image
            )
            for part in ("kernel", "ramdisk"):
                if part in parts:
                    path = kernel.path if part == "kernel" else kernel.ramdisk
                    kernel.tree.save(path, staging / PARTS[part])
        if "root" in parts:
            slices.path(system.root).rename(staging / ROOT)
        names = [name for part, name in PARTS.items() if part in parts]
        result = _result(staging, names, kernel, line)
        manifest = _manifest(request, format, system, result, line)
        _publish(staging, place, names, result, manifest)
    for note in result.notes:
        observer.warning(note)
    return result


def _kernel(
    system: System, request: ExtractRequest, parts: set[str]
) -> Kernel | None:
    """The kernel to extract; None if there is none and none is requested."""
    kernels = system.kernels
    if request.kernel:
        kernels = tuple(k for k in kernels if k.version == request.kernel)
    if kernels:
        if "ramdisk" in parts and not kernels[0].ramdisk:
            raise errors.InvalidFile(
                request.image,
                f"has no ramdisk for the kernel {kernels[0].version}",
                hint="select other parts with --only, or another kernel with"
                " --kernel",
            )
        return kernels[0]
    if request.kernel:
        versions = ", ".join(k.version for k in system.kernels) or "none"
        raise errors.InvalidFile(
            request.image,
            f"has no kernel {request.kernel}",
            hint=f"its kernels: {versions}",
        )
    if parts & {"kernel", "ramdisk"}:
        raise errors.InvalidFile(
            request.image,
            f"has no kernel in {system.root.name}"
            + (f" or {system.boot.name}" if system.boot else ""),
            hint="extract only the root file system with --only root",
        )
    return None


@contextlib.contextmanager
def _staging(directory: Path) -> Iterator[tuple[Path, Path]]:
    """A new directory for unfinished files, below the one they go to.

    Directories that killed runs left there are removed: nobody has their
    lock.

    :returns: it, and the one above, by paths that lead to the open
        directories. The owner of `directory` may rename everything in it
        meanwhile, or put links there.
    """
    with contextlib.ExitStack() as stack:
        if not directory.exists():
            stack.callback(_remove_empty, directory)
        try:
            directory.mkdir(0o755, parents=True, exist_ok=True)
            above = stack.enter_context(_opened(directory))
            for path in above.glob(f"{_STAGING}*"):
                with contextlib.suppress(OSError), _locked(path):
                    shutil.rmtree(path)
            made = Path(tempfile.mkdtemp(prefix=_STAGING, dir=above))
            stack.callback(shutil.rmtree, made, ignore_errors=True)
            staging = stack.enter_context(_locked(made))
        except OSError as error:
            raise errors.InvalidArgument(
                f"{directory}: cannot be written: {errors.reason(error)}"
            ) from error
        yield staging, above


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


@contextlib.contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[Path]:
    """Hold a directory open; the path given is that of the descriptor."""
    with descriptors.opened(path, flags | os.O_DIRECTORY) as descriptor:
        # Programs that are started have other descriptors.
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Hold a directory of this user open, and its lock.

    :raises OSError: when it is a link, belongs to another user, or is locked.
    """
    with _opened(path, os.O_NOFOLLOW) as opened:
        if opened.stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        with locks.locked(int(opened.name), timeout=0):
            yield opened


def _result(
    staging: Path,
    names: Sequence[str],
    kernel: Kernel | None,
    line: commandline.CommandLine | None,
) -> ExtractResult:
    written = []
    for name in names:
        with (staging / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            written.append(ExtractedFile(name, file.tell(), digest))
    notes = list(line.notes) if line else []
    architecture = None
    if KERNEL in names:
        architecture = ramdisk.architecture(staging / KERNEL)
    if RAMDISK in names and ramdisk.host_only(staging / RAMDISK) == "yes":
        notes.append(HOST_ONLY)
    return ExtractResult(
        tuple(written),
        kernel.version if kernel else "",
        architecture or "",
        line.text if line else "",
        tuple(notes),
    )


#: The warning for a ramdisk that was made for one host.
HOST_ONLY = (
    "the ramdisk has only the drivers of the host on which it was made: other"
    " machines may not find their disk or network (use dracut --no-hostonly)"
)


def _manifest(
    request: ExtractRequest,
    format: DiskFormat,
    system: System,
    result: ExtractResult,
    line: commandline.CommandLine | None,
) -> str:
    root = system.root
    return (
        json.dumps(
            {
                "image": os.path.basename(request.image),
                "format": format.name,
                "virtual_size": format.virtual_size,
                "command_line": result.command_line,
                "dropped_options": list(line.dropped) if line else [],
                "kernel_version": result.kernel_version,
                "architecture": result.architecture,
                "os_release": dict(system.release),
                "firmware": list(system.firmware),
                "root": {
                    "volume": root.name,
                    "file_system": root.kind,
                    "uuid": root.uuid,
                    "label": root.label,
                    "extents": [list(extent) for extent in root.extents],
                },
                "files": {
                    file.name: {"size": file.size, "sha256": file.sha256}
                    for file in result.files
                },
                "notes": list(result.notes),
            },
            indent=2,
        )
        + "\n"
    )


def _publish(
    staging: Path,
    directory: Path,
    names: Sequence[str],
    result: ExtractResult,
    manifest: str,
) -> None:
    """Rename everything into place; the lists of it come last."""
    # Bare names: that is what Ironic and Metal3 find in such a file.
    sums = "".join(f"{file.sha256}  {file.name}\n" for file in result.files)
    (staging / CHECKSUMS).write_text(sums)
    (staging / MANIFEST).write_text(manifest)
    umask = os.umask(0)
    os.umask(umask)
    for name in (*names, CHECKSUMS, MANIFEST):
        (staging / name).chmod(0o644 & ~umask)
        (staging / name).replace(directory / name)
