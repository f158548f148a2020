"""Names that last as long as a process: of containers, images, directories.

A name says which process gave it, and in which PID namespace of which host,
since numbers of processes mean nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from imageprep_client import errors

#: How all names begin that this package gives for a while.
PREFIX = "imageprep-"
# The whole grammar of `own_name`: names of users may have the prefix, too.
_OWN = re.compile(
    rf"{PREFIX}([0-9a-f]{{8}})-([0-9]{{1,10}})-([0-9]{{1,20}})-[0-9a-f]{{8}}"
)
# As buildah has it, where /tmp may be in memory.
_TEMPORARY = "/var/tmp"  # noqa: S108 - only for a directory of our own


def own_name() -> str:
    """A name that is abandoned when this process is gone."""
    process = os.getpid()
    token = secrets.token_hex(4)
    return f"{PREFIX}{_namespace()}-{process}-{_start_of(process)}-{token}"


def is_own(name: str) -> bool:
    """Whether `own_name` gave it, in any process."""
    return _OWN.fullmatch(name) is not None


def is_abandoned(name: str) -> bool:
    """Whether `own_name` gave it, in a process that is known to be gone.

    Nothing is known of processes of another PID namespace or host, which
    may share local storage or a directory for temporary files.
    """
    found = _OWN.fullmatch(name)
    return (
        found is not None
        and found[1] == _namespace()
        and _start_of(int(found[2])) != found[3]
    )


@functools.cache
def _namespace() -> str:
    """Names the PID namespace of this process, and its host."""
    place = f"{os.uname().nodename} {os.stat('/proc/self/ns/pid').st_ino}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


@contextlib.contextmanager
def temporary(environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """A private directory below TMPDIR or /var/tmp, as long as the context.

    Directories that killed processes left there are removed first.

    :raises LocalStorageError: when it cannot be made.
    """
    above = Path(environment.get("TMPDIR") or _TEMPORARY).absolute()
    path = above / own_name()
    try:
        for left in above.glob(f"{PREFIX}*"):
            if is_abandoned(left.name) and _belongs_to_us(left):
                shutil.rmtree(left, ignore_errors=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise errors.LocalStorageError(
            f"{above}: {reason}",
            hint="name a directory for temporary files with TMPDIR",
        ) from error
    try:
        yield path
    finally:
        # A thread of a stopped copy may still make one more file. What
        # cannot be removed now, a later run removes.
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            shutil.rmtree(path, ignore_errors=True)


def _belongs_to_us(path: Path) -> bool:
    """Whether it is a directory, no link to one, of this user."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        # Another run was quicker.
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _start_of(process: int) -> str:
    """When a process started, in ticks; empty when there is none.

    With its number it is a name that no other process of this boot has.
    """
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return status.rpartition(")")[2].split()[19]
