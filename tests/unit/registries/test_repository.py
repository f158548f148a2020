"""Reading one repository, and the meaning of its errors."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci import config as configs
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.registries import graph as graphs
from imageprep_client.registries import keep, reading
from imageprep_client.registries.graph import RepositoryGraph
from imageprep_client.registries.registry import Registry
from imageprep_client.stores import base, verify
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content
from imageprep_client.transfer.workers import Workers
from tests.unit.registries import sites


def read(registry: Registry) -> RepositoryGraph:
    """The graph of the only repository."""
    with Workers(4, keep_going=False) as workers:
        (graph,) = reading.read_all(registry, ["ns/a"], workers, Observer())
        return graph


def newest(graph: RepositoryGraph) -> list[str]:
    """The newest tag of a repository."""
    with Workers(4, keep_going=False) as workers:
        return keep.newest(graph, keep.times([graph], 1, workers), 1)


IMAGE = content.image("image")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (errors.NotFound("x"), "missing"),
        (errors.SizeMismatch("x"), "wrong size"),
        (errors.DigestMismatch("x"), "corrupt"),
        (errors.InvalidContent("x"), "corrupt"),
        (errors.ServerFault("x"), "unreadable"),
        (errors.StoreError("x"), "unreadable"),
    ],
)
def test_problem(error: errors.StoreError, problem: str) -> None:
    """An error about content is a problem with that content."""
    assert graphs.problem(error) == problem


@pytest.mark.parametrize(
    "kind", [errors.AccessDenied, errors.Unreachable, errors.TooManyRequests]
)
def test_no_problem(kind: type[errors.StoreError]) -> None:
    """A refused login is no statement about the content."""
    with pytest.raises(kind):
        graphs.problem(kind("x"))


class Asked(sites.Mute):
    """A repository that can only be asked, as that of a registry."""

    def tags(self) -> Iterator[str]:
        return self.inner.tags()

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        return self.inner.referrers(subject)


class AskedRegistry(MemoryRegistry):
    """Gives such repositories."""

    kind: type = Asked

    def store(self, repository: str):
        return self.kind(super().store(repository))


def fill(registry: MemoryRegistry) -> MemoryStore:
    store = MemoryStore(registry, "ns/a")
    sites.add(store, IMAGE, "1")
    return store


def test_referrers_of_referrers() -> None:
    """Where manifests cannot be listed, referrers are followed."""
    registry = AskedRegistry()
    store = fill(registry)
    first = content.artifact("first", IMAGE.descriptor)
    second = content.artifact("second", first.descriptor)
    for artifact in (first, second):
        sites.put(store, artifact.pieces)
    found = read(registry)
    assert found.manifests.keys() == {
        each.descriptor.digest for each in (IMAGE, first, second)
    }


class Refusing(Asked):
    """Has no referrers to show."""

    error: errors.StoreError = errors.NotFound("no referrers")

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (errors.NotFound("x"), {}),
        (
            errors.InvalidContent("x"),
            {f"referrers/{IMAGE.descriptor.digest}": "corrupt"},
        ),
    ],
)
def test_no_referrers(
    error: errors.StoreError,
    broken: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list of referrers may be absent, but not broken."""
    registry = AskedRegistry()
    fill(registry)
    monkeypatch.setattr(Refusing, "error", error)
    monkeypatch.setattr(registry, "kind", Refusing, raising=False)
    assert read(registry).broken == broken


def test_no_lists() -> None:
    """A repository without any list has nothing to look at."""
    registry = AskedRegistry()
    registry.kind = sites.Mute
    fill(registry)
    found = read(registry)
    assert (found.tags, found.manifests) == ({}, {})


class Gone(Asked):
    """Was deleted after it was listed."""

    def tags(self) -> Iterator[str]:
        raise errors.NotFound("repository unknown")


def test_repository_is_gone() -> None:
    """A repository that is no more has no tags."""
    registry = AskedRegistry()
    registry.kind = Gone
    fill(registry)
    assert read(registry).tags == {}


def test_too_many_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that names ever more manifests is not followed."""
    monkeypatch.setattr(reading, "_MAX_MANIFESTS", 1)
    registry = MemoryRegistry()
    store = fill(registry)
    sites.add(store, content.image("second"), "2")
    with pytest.raises(errors.InvalidContent, match="more than 1 manifests"):
        read(registry)


def test_store_is_a_store() -> None:
    """The doubles here are what they stand for."""
    assert isinstance(Asked(fill(MemoryRegistry())), base.ListsReferrers)
    assert not isinstance(sites.Mute(fill(MemoryRegistry())), base.ListsTags)


def test_newest_without_configs() -> None:
    """An image whose config is gone or no JSON object is the oldest."""
    registry = MemoryRegistry()
    store = registry.store("ns/a")
    sites.add(store, sites.made("a", "2024-01-01T00:00:00Z"), "a")
    gone = sites.made("gone", "2025-01-01T00:00:00Z")
    sites.add(store, gone, "gone")
    store.delete(gone.parts[1].descriptor)
    artifact = content.artifact("text", IMAGE.descriptor)
    sites.add(store, artifact, "text")
    assert newest(read(registry)) == ["a"]


def test_newest_without_tags_that_do_not_exist() -> None:
    """A tag that is listed and is not there, as in Artifactory, is not kept
    in place of an image.
    """
    registry = MemoryRegistry()
    store = registry.store("ns/a")
    sites.add(store, sites.made("a", "2024-01-01T00:00:00Z"), "a")
    found = read(registry)
    found = dataclasses.replace(
        found,
        tags={"_uploads": "", **found.tags},
        broken={"_uploads": graphs.MISSING},
    )
    assert keep.newest(found, {}, 2) == ["a"]


@pytest.mark.parametrize("text", ["[]", "no JSON", '{"created": 1}'])
def test_created_is_not_known(text: str) -> None:
    """A config that says no time makes the image the oldest, no more."""
    registry = MemoryRegistry()
    store = registry.store("ns/a")
    sites.add(store, sites.made("a", "2024-01-01T00:00:00Z"), "a")
    sites.add(store, sites.configured("b", text.encode()), "b")
    assert newest(read(registry)) == ["a"]


def test_large_config_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody makes us read a config of any size."""
    monkeypatch.setattr(configs, "MAX_SIZE", 10)
    registry = MemoryRegistry()
    store = registry.store("ns/a")
    sites.add(store, sites.made("a", "2024-01-01T00:00:00Z"), "a")
    sites.add(store, content.image("b"), "b")
    assert newest(read(registry)) == ["b"]


def test_manifests_are_bounded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registry of many large manifests does not fill the memory."""
    registry = MemoryRegistry()
    sizes = []
    for name in ("a", "b"):
        image = content.image(name)
        sizes.append(image.descriptor.size)
        sites.add(registry.store("ns/a"), image, name)
    monkeypatch.setattr(reading, "MAX_BYTES", sum(sizes))
    read(registry)
    monkeypatch.setattr(reading, "MAX_BYTES", sum(sizes) - 1)
    with pytest.raises(errors.InvalidContent, match="bytes of manifests"):
        read(registry)


def test_a_config_is_read_once() -> None:
    """However many tags an image has."""
    registry = Counting()
    for tag in ("1", "2", "3"):
        sites.add(registry.store("ns/a"), content.image("a"), tag)
    newest(read(registry))
    assert set(collections.Counter(registry.fetched).values()) == {1}


class Counting(MemoryRegistry):
    """Notes what is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def store(self, repository: str) -> MemoryStore:
        return _Counted(self, repository)


class _Counted(MemoryStore):
    def __init__(self, home: Counting, repository: str) -> None:
        super().__init__(home, repository)
        self._counting = home

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        self._counting.fetched.append(descriptor.digest)
        return super().fetch(descriptor)
