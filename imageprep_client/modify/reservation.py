"""Names in local storage, kept for what a run is about to make.

From the look whether a name is free to the image that has it there are
minutes, in which another run must not come to the same conclusion.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.modify import home
from imageprep_client.programs.buildah import Buildah


@contextlib.contextmanager
def reserved(host: Buildah, names: Iterable[str]) -> Iterator[None]:
    """Keep names of images for this run, as far as others ask for them.

    Whether there are images of these names is to be looked at within.

    :param host: works on the storage that the names are of.
    :param names: in full, each once.
    :raises InvalidArgument: when another run has one of them; nobody waits.
    :raises LocalStorageError: when nothing can be written there.
    """
    place = home.place(host.info().get("store") or {})
    with contextlib.ExitStack() as stack:
        with home.reported(place), home.alone(place):
            for name in names:
                stack.enter_context(_reserved(place, name))
        yield


@contextlib.contextmanager
def _reserved(place: Path, name: str) -> Iterator[None]:
    """Keep one name; to be entered when nobody else is at the place.

    What a killed run has left of this name is taken over.
    """
    directory = place / f"name-{hashlib.sha256(name.encode()).hexdigest()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(home.locked(directory, wait=False))
        except BlockingIOError as error:
            raise errors.InvalidArgument(
                f"{name}: another run is making an image of this name",
                hint="choose another --tag, or wait until that run has ended",
            ) from error
        try:
            yield
        finally:
            # Locked until it is gone, or others would lock what is no more.
            with home.reported(place), home.alone(place):
                directory.rmdir()
