"""The directory in the host's storage that runs share.

What a run has in it is locked by its process, and so is the directory itself
while something is put there or taken away. The kernel takes back the locks of
a process that ends, however it ends: what nobody has locked is abandoned.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors

_NAME = "imageprep"


def place(store: Mapping[str, Any]) -> Path:
    """Where it is; perhaps it is not there yet.

    :param store: how buildah describes the host's storage.
    """
    return Path(str(store.get("GraphRoot"))) / _NAME


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Make it if need be, and keep other runs from what is in it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(home):
        yield


@contextlib.contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Have the directory locked, as long as this process lives, at most.

    Each call opens the directory anew: threads exclude each other.

    :raises BlockingIOError: when another has it, and `wait` is false.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(directory, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def reported(home: Path) -> Iterator[None]:
    """Turn what the system says into an error of the package."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise errors.LocalStorageError(
            f"{error.filename or home}: {reason}",
            hint="run it as root"
            if isinstance(error, PermissionError)
            else None,
        ) from error
