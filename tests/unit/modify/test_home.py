"""Names that one run at a time may make."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.modify.home import reserved
from imageprep_client.programs.buildah import Buildah

NAME = "localhost/a:1-fix"
OTHER = "localhost/b:1-fix"
#: What `reserved` says of a name that it cannot have.
MAKING = "another run is making"


def storage(directory: Path) -> Buildah:
    """One that is in a directory."""
    found = mock.create_autospec(Buildah, instance=True)
    found.info.return_value = {"store": {"GraphRoot": str(directory)}}
    assert isinstance(found, Buildah)
    return found


@pytest.fixture
def host(tmp_path: Path) -> Buildah:
    return storage(tmp_path)


def test_one_at_a_time(host: Buildah) -> None:
    """The second run is told of the name, and what to do."""
    with (
        reserved(host, [NAME]),
        pytest.raises(errors.InvalidArgument, match=MAKING) as caught,
        reserved(host, [NAME]),
    ):
        pass
    assert str(caught.value).startswith(f"{NAME}: ")
    assert "--tag" in str(caught.value.hint)


def test_other_names(host: Buildah) -> None:
    """Others are free."""
    with reserved(host, [NAME]), reserved(host, [OTHER]):
        pass


def test_other_storage(host: Buildah, tmp_path: Path) -> None:
    """So is the name in other storage."""
    with reserved(host, [NAME]), reserved(storage(tmp_path / "x"), [NAME]):
        pass


def test_all_or_none(host: Buildah) -> None:
    """Of several names of which one is taken, the others stay free."""
    with reserved(host, [OTHER]):
        with pytest.raises(errors.InvalidArgument, match=OTHER):
            reserved(host, [NAME, OTHER]).__enter__()
        with reserved(host, [NAME]):
            pass


def test_end(host: Buildah, tmp_path: Path) -> None:
    """Afterwards, also after a failure, it is free, and nothing is left."""
    with pytest.raises(ZeroDivisionError), reserved(host, [NAME, OTHER]):
        raise ZeroDivisionError
    assert list((tmp_path / "imageprep").iterdir()) == []
    with reserved(host, [NAME, OTHER]):
        pass


def test_killed(host: Buildah, tmp_path: Path) -> None:
    """A killed process keeps no name; the next one takes its place away."""
    context = multiprocessing.get_context("fork")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(host, tell))
    process.start()
    assert told.recv() == "reserved"
    with pytest.raises(errors.InvalidArgument, match=MAKING):
        reserved(host, [NAME]).__enter__()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with reserved(host, [NAME]):
        pass
    assert list((tmp_path / "imageprep").iterdir()) == []


def _hold(host: Buildah, tell: Connection) -> None:
    with reserved(host, [NAME]):
        tell.send("reserved")
        signal.pause()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(""),
        lambda path: path.symlink_to("nowhere/at/all"),
    ],
)
def test_no_place(
    tmp_path: Path, host: Buildah, spoil: Callable[[Path], None]
) -> None:
    """Where nothing can be kept the place is named."""
    spoil(tmp_path / "imageprep")
    with pytest.raises(errors.LocalStorageError, match=f"{tmp_path}/image"):
        reserved(host, [NAME]).__enter__()
