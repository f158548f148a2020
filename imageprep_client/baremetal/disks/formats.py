"""The format of an image file, known before any program opens it.

The inspectors are those of oslo.utils, which Glance, Ironic and its agent
use. They do not refuse a damaged header, a file that is cut short or an
absurd virtual size; this module does.
"""

from __future__ import annotations

import io
import logging
import os
import struct

from oslo_utils.imageutils import format_inspector

from imageprep_client import decompression, errors
from imageprep_client.baremetal.disks.disk import DiskFormat

GIB = 1024**3
#: GiB that a disk may have where nothing else is said.
MAX_SIZE = 128

# Its messages are told in the error that follows.
format_inspector.LOG.setLevel(logging.CRITICAL)

_CHUNK = 64 * 1024
#: No format has its headers further inside than this.
_INSPECTED = 64 * 1024 * 1024
_QCOW2_MAGIC = b"QFI\xfb"
#: Magic, version, backing file (offset, size), cluster bits, size,
#: encryption, L1 (entries, offset), refcounts (offset, clusters).
_QCOW2 = struct.Struct(">4sIQIIQIIQQI")
_QCOW2_CLUSTER_BITS = range(9, 22)
#: The entries of an L1 table, and the limit of qemu: 32 MiB.
_POINTER = 8
_MAX_L1 = 4 * 1024 * 1024
_CONVERT = "convert it first: qemu-img convert -f {0} -O qcow2 ..."
#: The first bytes of compressed files, and the commands that decompress them.
_COMPRESSED = {
    decompression.GZIP: "gunzip --keep",
    decompression.XZ: "unxz --keep",
    decompression.ZSTD: "unzstd --keep",
    b"BZh": "bunzip2 --keep",
    b"\x04\x22\x4d\x18": "unlz4 --keep",
    b"PK\x03\x04": "unzip",
}
#: Endings of names, and the format that the content must have then.
_ENDINGS = {".qcow2": "qcow2", ".qcow": "qcow2", ".vmdk": "vmdk"}


def inspect(file: io.BufferedReader, path: str, max_size: int) -> DiskFormat:
    """The format of an image, when it is one that is safe to open.

    :param path: what messages call the file.
    :param max_size: bytes that the disk may have.
    :raises InvalidFile: when it is another, damaged, or refers to another
        file.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise errors.InvalidFile(path, "is empty")
    inspector = _detect(file, path)
    name = "raw" if inspector.NAME == "gpt" else inspector.NAME
    if name not in ("raw", "qcow2"):
        raise errors.InvalidFile(
            path,
            f"has the format {name}, which Glance and Ironic do not take"
            " for bare metal",
            hint=None if name == "iso" else _CONVERT.format(name),
        )
    expected = _ENDINGS.get(os.path.splitext(path)[1].lower())
    head = os.pread(file.fileno(), _QCOW2.size, 0)
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise errors.InvalidFile(
                path,
                "is compressed, and would be written to the disk of a node as"
                " it is",
                hint=f"decompress it first: {command} ...",
            )
    if head.startswith(_QCOW2_MAGIC) and name != "qcow2":
        raise errors.InvalidFile(path, "has a qcow2 header that is cut short")
    if expected and expected != name:
        raise errors.InvalidFile(
            path, f"is named {expected} but its content is {name}"
        )
    _check_safety(inspector, path)
    virtual = _qcow2_size(head, path, size) if name == "qcow2" else size
    if virtual > max_size:
        raise errors.InvalidFile(
            path,
            f"the disk has {virtual} bytes, over the limit of {max_size}",
            hint="if this is right, raise --max-size",
        )
    return DiskFormat(name, virtual)


def _detect(
    file: io.BufferedReader, path: str
) -> format_inspector.FileInspector:
    file.seek(0)
    # The wrapper closes what it reads.
    copy = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
    wrapper = format_inspector.InspectWrapper(copy)
    read = 0
    try:
        try:
            while wrapper.formats is None and read < _INSPECTED:
                chunk = wrapper.read(_CHUNK)
                read += len(chunk)
                if not chunk:
                    break
        finally:
            wrapper.close()
        inspector = wrapper.format
    except format_inspector.ImageFormatError as error:
        raise errors.InvalidFile(
            path, f"has no single format: {errors.reason(error)}"
        ) from None
    if inspector is None:
        raise errors.InvalidFile(path, "has no format that is known")
    return inspector


def _check_safety(
    inspector: format_inspector.FileInspector, path: str
) -> None:
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reasons = "; ".join(str(reason) for reason in error.failures.values())
        raise errors.InvalidFile(
            path, f"is not safe to open as {inspector.NAME}: {reasons}"
        ) from None
    except format_inspector.ImageFormatError as error:
        raise errors.InvalidFile(
            path, f"is no whole {inspector.NAME}: {errors.reason(error)}"
        ) from None


def _qcow2_size(head: bytes, path: str, file_size: int) -> int:
    """The virtual size, when the header describes a file of this size."""
    header = _QCOW2.unpack(head)
    version, (bits, size, encryption) = header[1], header[4:7]
    l1_entries, l1_offset, refcounts, refcount_clusters = header[7:]
    if encryption:
        raise errors.InvalidFile(path, "is encrypted")
    if bits not in _QCOW2_CLUSTER_BITS:
        raise errors.InvalidFile(path, f"has clusters of 2^{bits} bytes")
    cluster = 1 << bits
    needed = -(-size // (cluster * (cluster // _POINTER)))
    if not size or not needed <= l1_entries <= _MAX_L1:
        raise errors.InvalidFile(
            path, f"has {l1_entries} tables for a disk of {size} bytes"
        )
    tables = (
        (l1_offset, l1_entries * _POINTER),
        (refcounts, refcount_clusters * cluster),
    )
    for offset, length in tables:
        if offset % cluster or offset < cluster or offset + length > file_size:
            raise errors.InvalidFile(
                path,
                f"is cut short or damaged: a table of qcow2 version {version}"
                f" is at {offset}, the file has {file_size} bytes",
            )
    return int(size)
