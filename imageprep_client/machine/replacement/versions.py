"""Kept roots, beside the present one and named by the time of their removal.

The version ``20261129T174512Z`` of ``/var/lib/machines/www`` is
``/var/lib/machines/www~20261129T174512Z``. A name with a leading dot would not
do: systemd removes such names when the host starts, or at ``machinectl
clean``.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import re
import secrets
from pathlib import Path

from imageprep_client import errors
from imageprep_client.machine import roots

_SEPARATOR = "~"
_VERSION = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]{1,4})?")
#: systemd removes what has this prefix when the host starts.
_TEMPORARY = ".#image-prepare-"


@dataclasses.dataclass(frozen=True, slots=True)
class KeptVersion:
    """A root that can be restored."""

    version: str
    path: Path


def kept(root: Path) -> list[KeptVersion]:
    """The kept versions of a root, the newest first."""
    prefix = root.name + _SEPARATOR
    versions = [
        KeptVersion(path.name.removeprefix(prefix), path)
        for path in root.parent.iterdir()
        if path.name.startswith(prefix)
        and _VERSION.fullmatch(path.name.removeprefix(prefix))
        and path.is_dir()
        and not path.is_symlink()
    ]
    return sorted(versions, key=lambda kept: kept.version, reverse=True)


def find(root: Path, version: str | None) -> KeptVersion:
    """A kept version; the newest one by default.

    :raises InvalidArgument: when there is none.
    """
    versions = kept(root)
    for known in versions:
        if version in (None, known.version):
            return known
    if not versions:
        raise errors.InvalidArgument(
            f"{root}: no earlier root is kept",
            hint="openstack image-prepare machine replace keeps --keep of"
            " them, one by default",
        )
    names = ", ".join(known.version for known in versions)
    raise errors.InvalidArgument(
        f"{root}: the version {version} is not kept", hint=f"kept: {names}"
    )


def new(root: Path) -> Path:
    """The path for a root that is replaced now."""
    now = datetime.datetime.now(datetime.UTC)
    stem = f"{root.name}{_SEPARATOR}{now:%Y%m%dT%H%M%SZ}"
    for suffix in ("", *(f"-{number}" for number in range(2, 10000))):
        path = root.with_name(stem + suffix)
        if not path.exists():
            return path
    raise errors.StoreError(f"{root}: too many versions of one second")


def temporary(root: Path) -> Path:
    """A temporary name beside a root, which is not listed as a machine."""
    return root.with_name(_prefix(root) + secrets.token_hex(8))


def delete(root: Path, path: Path) -> None:
    """Delete the root or what is beside it, if it is there.

    A deletion that is killed leaves a temporary name.

    :raises InvalidArgument: when something is mounted in it.
    :raises StoreError: when it cannot be deleted.
    """
    if not path.is_dir() or path.is_symlink():
        return
    roots.check_unmounted(path)
    roots.remove(hide(root, path))


def hide(root: Path, path: Path) -> Path:
    """Give what is beside a root a temporary name, unless it has one.

    It may have mounts below it.
    """
    if path.name.startswith(_prefix(root)):
        return path
    hidden = temporary(root)
    path.rename(hidden)
    return hidden


def leftovers(root: Path) -> list[Path]:
    """The paths beside a root that have temporary names."""
    return [
        path
        for path in root.parent.iterdir()
        if path.name.startswith(_prefix(root))
    ]


def _prefix(root: Path) -> str:
    """The prefix of the temporary names of one root."""
    digest = hashlib.sha256(os.fsencode(root.name)).hexdigest()[:16]
    return f"{_TEMPORARY}{digest}-"
