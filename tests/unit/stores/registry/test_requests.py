"""How many requests a copy takes; each costs a round trip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.stores import base, memory
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from tests.recorder import Recorder


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient() as client:
        yield client


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as registry:
        image = content.image("x")
        store = registry.content.store("ns/a")
        for piece in image.pieces:
            store.push(piece.descriptor, piece.open())
        store.tag(image.descriptor, "1")
        yield registry


def copy(source: base.ReadableStore, destination: base.Store) -> None:
    engine.copy(source, "1", destination, "1", observer=Observer())


def test_new_image(client: RegistryClient, registry: RegistryServer) -> None:
    """An image that the destination lacks: its manifest in one request, and
    one for each blob.
    """
    copy(
        client.store(registry.host, "ns/a"),
        memory.MemoryRegistry().store("ns/a"),
    )
    assert not registry.requests("HEAD", "/manifests/")
    assert len(registry.requests("GET", "/manifests/")) == 1
    assert len(registry.requests("GET", "/blobs/")) == 3


def test_nothing_to_do(
    client: RegistryClient, registry: RegistryServer
) -> None:
    """An image that is in place: a HEAD, and no question beside it."""
    destination = memory.MemoryRegistry().store("ns/a")
    copy(client.store(registry.host, "ns/a"), destination)
    registry.log.clear()
    with RegistryClient() as again:
        copy(again.store(registry.host, "ns/a"), destination)
    assert [(r.method, r.path) for r in registry.log] == [
        ("HEAD", "/v2/ns/a/manifests/1")
    ]


def test_length_of_a_head_is_not_relied_on(
    client: RegistryClient, registry: RegistryServer
) -> None:
    """A HEAD that tells a wrong length spoils nothing."""
    registry.fail(
        method="HEAD", path="/manifests/", length_error=5, times=None
    )
    copy(
        client.store(registry.host, "ns/a"),
        memory.MemoryRegistry().store("ns/a"),
    )


@pytest.mark.parametrize("reference", ["absent", "sha256:" + "0" * 64])
def test_resolve_ahead_finds_nothing(
    client: RegistryClient, registry: RegistryServer, reference: str
) -> None:
    """An absent reference is not found, in this way either."""
    with pytest.raises(errors.NotFound):
        client.store(registry.host, "ns/a").resolve_ahead(reference)


def test_resolve_ahead_refuses_what_is_no_reference(
    client: RegistryClient, registry: RegistryServer
) -> None:
    """Neither a tag nor a digest: nothing is asked."""
    with pytest.raises(errors.InvalidReference):
        client.store(registry.host, "ns/a").resolve_ahead("../x")
    assert not registry.log


@pytest.mark.parametrize("how", ["resolve", "resolve_ahead"])
def test_first_question(
    client: RegistryClient, registry: RegistryServer, how: str
) -> None:
    """Whether it is a registry, the first question finds out."""
    getattr(client.store(registry.host, "ns/a"), how)("1")
    asked = [request.path for request in registry.log]
    assert asked == ["/v2/ns/a/manifests/1"]


@pytest.mark.parametrize("how", ["resolve", "resolve_ahead"])
def test_first_answer_is_elsewhere(
    client: RegistryClient, registry: RegistryServer, how: str
) -> None:
    """A server that redirects only the request itself is a registry, too."""
    found = registry.content.store("ns/a").resolve("1")
    elsewhere = f"{registry.url}/v2/ns/a/manifests/{found.digest}"
    registry.fail(
        path="/manifests/1", status=307, headers={"Location": elsewhere}
    )
    assert getattr(client.store(registry.host, "ns/a"), how)("1") == found
    assert len(registry.requests(path="/manifests/1")) == 1


def within(
    client: RegistryClient,
    registry: RegistryServer,
    names: str = "bc",
    *,
    dry_run: bool = False,
) -> tuple[list[tuple[int, int]], Recorder]:
    """Copy an image within its registry: bytes copied and mounted."""
    observer = Recorder()
    copies = [
        Copy(
            name=name,
            source=client.store(registry.host, "ns/a"),
            reference="1",
            destination=client.destination(registry.host, f"ns/{name}"),
            tag="2",
        )
        for name in names
    ]
    outcomes = engine.copy_all(
        copies, observer=observer, dry_run=dry_run, concurrency=1
    )
    assert not any(outcome.error for outcome in outcomes)
    return [(each.copied, each.mounted) for each in outcomes], observer


SIZE = sum(part.descriptor.size for part in content.image("x").parts)


@pytest.mark.parametrize("dry_run", [True, False])
def test_copy_within_a_registry(
    client: RegistryClient, registry: RegistryServer, *, dry_run: bool
) -> None:
    """Blobs are mounted from the source's repository, and none is read."""
    counts, observer = within(client, registry, dry_run=dry_run)
    assert counts == [(0, SIZE)] * 2
    assert (observer.expected, observer.copied) == (0, 0)
    assert not registry.requests("GET", "/blobs/")
    if not dry_run:
        store = registry.content.store("ns/b")
        assert store.holds(store.resolve("2"))
        assert len(registry.requests("POST", "mount=.*from=ns%2Fa$")) == 3


def test_copy_within_a_registry_that_does_not_mount(
    client: RegistryClient, registry: RegistryServer
) -> None:
    """The upload that it began instead is used; all arrives."""
    registry.behaviour.mounts = False
    counts, observer = within(client, registry, "b")
    assert counts == [(SIZE, 0)]
    assert observer.expected == observer.copied == SIZE
    assert len(registry.requests("POST")) == 3
    store = registry.content.store("ns/b")
    assert store.holds(store.resolve("2"))


def test_second_tag_in_one_repository(
    client: RegistryClient, registry: RegistryServer
) -> None:
    """Content that is there already is neither copied nor mounted."""
    counts, observer = within(client, registry, "a")
    assert counts == [(0, 0)]
    assert observer.expected == observer.copied == 0
