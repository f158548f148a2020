"""The nearest tags of one that does not exist."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from imageprep_client.transfer import nearest

IMAGE = content.image("image")
SIGNATURE = f"sha256-{'0' * 64}.sig"


@pytest.fixture
def store() -> MemoryStore:
    """A repository with an image, and a tag of a signature."""
    store = MemoryRegistry().store("ns/name")
    put(store, IMAGE, "17.1.3", "17.1.4", "latest", SIGNATURE)
    return store


def hint(store: MemoryStore, identifier: str) -> str | None:
    with pytest.raises(errors.NotFound) as caught:
        nearest.resolve(store, identifier)
    return caught.value.hint


def test_tag_that_exists(store: MemoryStore) -> None:
    """A tag that exists is resolved."""
    assert nearest.resolve(store, "latest") == IMAGE.descriptor


def test_nearest_tags(store: MemoryStore) -> None:
    """Similar tags are named, and no signatures."""
    told = hint(store, "17.1.5")
    assert told is not None
    assert told.startswith("the nearest tags there are: 17.1.")
    assert "17.1.3" in told
    assert "17.1.4" in told


@pytest.mark.parametrize("tag", ["qqq", SIGNATURE[1:]])
def test_no_tag_is_near(store: MemoryStore, tag: str) -> None:
    """Without a similar tag some others are named."""
    told = "no similar tag; some that exist: 17.1.3, 17.1.4, latest"
    assert hint(store, tag) == told


def test_no_tags() -> None:
    """A repository without tags probably has another name."""
    told = "no tags of this repository are listed: is its name right?"
    assert hint(MemoryRegistry().store("ns/other"), "1") == told


def test_digest(store: MemoryStore) -> None:
    """A digest has no hint."""
    assert hint(store, f"sha256:{'0' * 64}") is None


def test_tag_that_names_nothing(store: MemoryStore) -> None:
    """A tag that is listed is not told to be missing."""

    class Broken(MemoryStore):
        def tags(self):
            return iter(["1", "1.1"])

    assert hint(Broken(MemoryRegistry(), "ns/name"), "1") is None


def test_list_that_fails(store: MemoryStore) -> None:
    """A registry that lists no tags does not hide the error itself."""

    class Mute(MemoryStore):
        def tags(self):
            raise errors.AccessDenied("no")

    assert hint(Mute(MemoryRegistry(), "ns/name"), "1") is None
