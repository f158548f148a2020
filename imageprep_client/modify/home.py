"""The directory in the storage of the host that all runs share.

A run locks each entry that it has there, and the directory itself while it
adds or removes an entry. The kernel releases the locks of a process when it
ends, so an entry that nobody has locked is abandoned.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.host import locks
from imageprep_client.programs.buildah import Buildah

_NAME = "imageprep"


def place(store: Mapping[str, Any]) -> Path:
    """The path of the directory, which may not exist yet.

    :param store: the storage of the host, as ``buildah info`` describes it.
    """
    return Path(str(store.get("GraphRoot"))) / _NAME


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Make the directory if it does not exist, and lock it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locks.locked_directory(home):
        yield


@contextlib.contextmanager
def reported(home: Path) -> Iterator[None]:
    """Raise an `OSError` as an error of the package."""
    try:
        yield
    except OSError as error:
        raise errors.LocalStorageError(
            f"{error.filename or home}: {errors.reason(error)}",
            hint=errors.as_root(error),
        ) from error


@contextlib.contextmanager
def reserved(host: Buildah, names: Iterable[str]) -> Iterator[None]:
    """Reserve names of images for this run.

    It takes minutes to make an image. Another run must not find the same name
    free meanwhile. Check within the context whether images have the names.

    :param host: works on the storage of the names.
    :param names: full names without repetition.
    :raises InvalidArgument: when another run has reserved one of the names.
    :raises LocalStorageError: when nothing can be written there.
    """
    home = place(host.info().get("store") or {})
    with contextlib.ExitStack() as stack:
        with reported(home), alone(home):
            for name in names:
                stack.enter_context(_reserved(home, name))
        yield


@contextlib.contextmanager
def _reserved(home: Path, name: str) -> Iterator[None]:
    """Reserve one name; the caller has locked the directory.

    A reservation that a killed run left behind is taken over.
    """
    directory = home / f"name-{hashlib.sha256(name.encode()).hexdigest()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.locked_directory(directory, timeout=0))
        except BlockingIOError as error:
            raise errors.InvalidArgument(
                f"{name}: another run is making an image of this name",
                hint="choose another --tag, or wait until that run has ended",
            ) from error
        try:
            yield
        finally:
            # It stays locked until it is gone; otherwise another run could
            # lock a directory that is being removed.
            with reported(home), alone(home):
                directory.rmdir()
