"""Temporary directories, and images on their way into local storage."""

from __future__ import annotations

import os
import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.container import staging
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.testing import images


@pytest.fixture(autouse=True)
def temporary(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """TMPDIR of the test."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def test_scratch_is_private_and_goes(temporary: pathlib.Path) -> None:
    """Nobody else can read it, and nothing of it stays."""
    with staging.scratch() as scratch:
        assert pathlib.Path(scratch).parent == temporary
        assert pathlib.Path(scratch).stat().st_mode & 0o777 == 0o700
        pathlib.Path(scratch, "file").touch()
    assert not os.listdir(temporary)


def test_scratch_goes_when_it_is_used_badly(temporary: pathlib.Path) -> None:
    """An error in between does not keep it."""
    with pytest.raises(KeyboardInterrupt), staging.scratch():
        raise KeyboardInterrupt
    assert not os.listdir(temporary)


def test_what_killed_runs_left_goes(temporary: pathlib.Path) -> None:
    """Directories of processes that are no more are removed, others not."""
    (temporary / "imageprep-1-0-abc").mkdir()
    (temporary / "other").mkdir()
    with staging.scratch():
        pass
    assert os.listdir(temporary) == ["other"]


def test_no_place_for_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TMPDIR that is none is named."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with (
        pytest.raises(errors.InvalidArgument, match="gone") as raised,
        staging.scratch(),
    ):
        pass
    assert raised.value.hint == "set TMPDIR"


def fetched(temporary: pathlib.Path, *names: str) -> list[staging.Fetched]:
    """These images of a registry that has ns/a:1 only."""
    registry = MemoryRegistry("source")
    sample = images.overcloud({"ns/a": ("1",)})
    images.write(sample.images, registry.store)
    root = LayoutRoot(temporary / "layouts")
    return staging.fetch(
        [Reference.parse(name) for name in names],
        str(temporary),
        source=lambda reference: registry.store(reference.repository),
        destination=lambda place, repository: root.store(repository),
        observer=Observer(),
    )


def test_image_is_in_a_layout(temporary: pathlib.Path) -> None:
    """What is fetched has its manifest and blobs where it says."""
    (found,) = fetched(temporary, "x.io/ns/a:1")
    assert found.error is None
    assert pathlib.Path(found.layout, "index.json").exists()


def test_one_that_fails_does_not_keep_the_others(
    temporary: pathlib.Path,
) -> None:
    """Each has an error of its own, or none."""
    missing, found = fetched(temporary, "x.io/ns/gone:1", "x.io/ns/a:1")
    assert "ns/gone:1" in str(missing.error)
    assert found.error is None


def test_nothing_to_fetch(temporary: pathlib.Path) -> None:
    """No directory is made for no images."""
    assert fetched(temporary) == []
    assert not os.listdir(temporary)
