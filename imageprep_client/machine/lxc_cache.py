"""The cache from which the LXC template ``download`` makes containers.

Each base is a directory, ``download/DISTRO/RELEASE/ARCHITECTURE/default`` with
an archive of the root and a configuration. The role of OpenStack-Ansible that
prepares hosts for LXC makes no base of its own while there is one that has not
expired.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk, locks
from imageprep_client.host.directory import Directory
from imageprep_client.machine import identity, roots
from imageprep_client.machine.archives.packing import pack
from imageprep_client.machine.image import MachineFacts
from imageprep_client.machine.replacement.exchange import exchange
from imageprep_client.observer import Observer
from imageprep_client.oci.platform import architecture

_DOWNLOAD, _VARIANT = "download", "default"
_ROOT, _BUILD_ID, _EXPIRY = "rootfs.tar.xz", "build_id", "expiry"
_TEMPORARY = ".image-prepare-"
#: Seconds that the role takes a base for fresh.
_VALID = 365 * 24 * 3600
#: A distribution and its release, as parts of a path.
_WORD = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
#: Architectures that LXC calls by other names than images do.
_OTHER_NAMES = {"arm": "armhf", "386": "i386", "ppc64le": "ppc64el"}
#: Files in which LXC puts the name of a container.
_TEMPLATES = {
    "etc/hostname": "LXC_NAME\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 LXC_NAME\n",
}


@dataclasses.dataclass(frozen=True, slots=True)
class CachedBase:
    """A base in the cache.

    :ivar digest: of the image or archive that it was made of.
    :ivar size: bytes of its archive.
    """

    path: Path
    digest: str
    size: int


def find(cache: Path, digest: str) -> CachedBase | None:
    """The base that was made of an image and has not expired, if any.

    :param cache: such as ``/var/cache/lxc``.
    """
    for path in cache.glob(f"{_DOWNLOAD}/*/*/*/{_VARIANT}"):
        with contextlib.suppress(OSError, ValueError):
            is_fresh = int((path / _EXPIRY).read_text()) > time.time()
            if is_fresh and (path / _BUILD_ID).read_text().strip() == digest:
                size = (path / _ROOT).stat().st_size
                return CachedBase(path, digest, size)
    return None


def fill(
    cache: Path,
    unpack: Callable[[Path, Path], object],
    *,
    digest: str,
    archive: str,
    observer: Observer,
) -> CachedBase:
    """Store a base in the cache, in place of the present one.

    Containers made of it have an identity of their own.

    :param unpack: see `importing.import_root`.
    :param archive: its name, for messages.
    :raises BadArchive: when it may not be unpacked.
    :raises InvalidContent: when it is no root for this host.
    """
    with _staging(cache, observer) as staging, disk.reported(cache):
        root = staging / "root"
        root.mkdir()
        unpack(cache, root)
        directory = Directory(root)
        facts = MachineFacts.of(directory)
        path = cache / _DOWNLOAD / _place(facts, archive)
        identity.forget(directory, identity.paths(directory))
        for name, text in _TEMPLATES.items():
            directory.replace(name, text.encode(), 0o644)
        new = staging / _VARIANT
        new.mkdir(mode=0o755)
        with open(new / _ROOT, "xb", buffering=0) as file:
            # An image may have secrets.
            os.fchmod(file.fileno(), 0o600)
            size = pack(
                root,
                file,
                compression_name="xz",
                scrubbed=(),
                scratch=staging,
                advanced=observer.bytes_copied,
            ).size
        _describe(new, digest)
        disk.synchronise(staging)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path.is_dir():
            exchange(new, path)
        else:
            new.rename(path)
        disk.synchronise_directory(path.parent)
    return CachedBase(path, digest, size)


@contextlib.contextmanager
def _staging(cache: Path, observer: Observer) -> Iterator[Path]:
    """A directory in the cache that only root can enter.

    One run at a time has one; what killed runs left is removed.
    """
    top = cache / _DOWNLOAD
    try:
        top.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise errors.InvalidArgument(
            f"{top}: cannot be used: {errors.reason(error)}",
            hint=errors.as_root(error),
        ) from error
    told = f"{top}: another run fills it"
    try:
        with locks.locked(descriptor, waiting=lambda: observer.waiting(told)):
            for left in top.glob(f"{_TEMPORARY}*"):
                roots.remove(left)
            staging = top / f"{_TEMPORARY}{secrets.token_hex(8)}"
            staging.mkdir(mode=0o700)
            try:
                yield staging
            finally:
                roots.remove(staging)
    finally:
        os.close(descriptor)


def _place(facts: MachineFacts, archive: str) -> str:
    """The path of a base in the cache.

    :raises InvalidContent: when it is for no container of this host.
    """
    release = facts.release.partition(".")[0]
    for word, key in ((facts.distro, "ID"), (release, "VERSION_ID")):
        if not _WORD.fullmatch(word):
            raise errors.InvalidContent(
                f"{archive}: its /etc/os-release has no {key} that the cache"
                " of LXC can be filed under"
            )
    here = architecture(platform.machine())
    if facts.architecture != here:
        raise errors.InvalidContent(
            f"{archive}: is for {facts.architecture}, and this host is {here}"
        )
    name = _OTHER_NAMES.get(here, here)
    return f"{facts.distro}/{release}/{name}/{_VARIANT}"


def _describe(path: Path, digest: str) -> None:
    """Write the files that LXC needs beside a base."""
    files = {
        "config": "lxc.include = LXC_TEMPLATE_CONFIG/common.conf\n"
        f"lxc.arch = {platform.machine()}\n",
        "templates": "".join(f"/{name}\n" for name in _TEMPLATES),
        _BUILD_ID: f"{digest}\n",
        _EXPIRY: f"{int(time.time()) + _VALID}\n",
    }
    directory = Directory(path)
    for name, text in files.items():
        directory.write(name, text.encode(), 0o644)
