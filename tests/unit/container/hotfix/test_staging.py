"""Temporary directories, and images on their way into local storage."""

from __future__ import annotations

import os
import pathlib

import pytest

from imageprep_client.container.hotfix import staging
from imageprep_client.container.request import CopyStores
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
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


class _Stores(CopyStores):
    """One registry to read from and one root to write to; no policy."""

    def __init__(self, registry: MemoryRegistry, root: LayoutRoot) -> None:
        self._registry = registry
        self._root = root

    def source(self, reference: Reference) -> base.ReadableStore:
        return self._registry.store(reference.repository)

    def destination(
        self, push_destination: str, repository: str
    ) -> base.Store:
        return self._root.store(repository)

    def admission(self, reference: Reference) -> None:
        return None


def fetched(temporary: pathlib.Path, *names: str) -> list[staging.Fetched]:
    """These images of a registry that has ns/a:1 only."""
    registry = MemoryRegistry("source")
    sample = images.overcloud({"ns/a": ("1",)})
    images.write(sample.images, registry.store)
    root = LayoutRoot(temporary / "layouts")
    return staging.fetch(
        [Reference.parse(name) for name in names],
        str(temporary),
        _Stores(registry, root),
        Observer(),
        timeout=None,
    )


def test_image_is_in_a_layout(temporary: pathlib.Path) -> None:
    """A fetched image has its manifest and blobs in the layout it names."""
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


def test_nearest_tags(temporary: pathlib.Path) -> None:
    """A tag that does not exist is told with those that are like it."""
    (missing,) = fetched(temporary, "x.io/ns/a:12")
    assert missing.error is not None
    assert missing.error.hint == "the nearest tags there are: 1"
