"""Reading from mirrors, and what they are never used for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.blob import Download
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.endpoints.registries_conf import (
    Pull,
    RegistriesConf,
    RegistryTable,
    Source,
)
from imageprep_client.stores.registry.endpoints.replicas import Replica, Server
from imageprep_client.stores.registry.repository import RepositoryRequests
from imageprep_client.stores.registry.session import RegistrySession
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.gate import Basic
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.testing.streams import put
from tests import servers
from tests.recorder import Recorder

MakeClient = Callable[..., RegistryClient]
IMAGE = content.image("mirrors")
BLOB = IMAGE.parts[0]
NAME = "reg.invalid"


def fill(server: RegistryServer, repository: str) -> None:
    """Have the image there, as ``latest``."""
    put(server.content.store(repository), IMAGE, "latest")


@pytest.fixture
def origin() -> Iterator[RegistryServer]:
    """Where reg.invalid/ns is really; it has the image."""
    with RegistryServer() as server:
        fill(server, "real/x")
        yield server


@pytest.fixture
def mirror() -> Iterator[RegistryServer]:
    """Its mirror; it has nothing yet."""
    with RegistryServer() as server:
        yield server


def conf(
    origin: str, *mirrors: str, pull: Pull = "all", blocked: bool = False
) -> RegistriesConf:
    table = RegistryTable(
        f"{NAME}/ns",
        f"{origin}/real",
        "/etc/containers/registries.conf",
        blocked=blocked,
        mirrors=tuple(Source(f"{m}/copy", pull=pull) for m in mirrors),
    )
    return RegistriesConf([table])


def paths(server: RegistryServer, prefix: str = "") -> list[str]:
    return [
        f"{request.method} {request.path.removeprefix('/v2/')}"
        for request in server.requests(path=f"^/v2/{prefix or '.'}")
    ]


def test_reads_from_the_mirror(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """All is read there, under the mirror's own names, and nothing written."""
    fill(mirror, "copy/x")
    hosts = Hosts(registries=conf(origin.host, mirror.host))
    store = make_client(hosts).store(NAME, "ns/x")
    assert str(store) == f"{NAME}/ns/x"
    assert (store.registry, store.repository) == (origin.host, "real/x")
    found = store.resolve("latest")
    assert store.exists(BLOB.descriptor)
    assert store_suite.read(store, BLOB.descriptor) == BLOB.data
    assert store_suite.read(store, found) == IMAGE.manifest.data
    with store.fetch_from(BLOB.descriptor, 5) as rest:
        assert rest.read() == BLOB.data[5:]
    assert list(store.tags()) == ["latest"]
    assert not store.referrers(found)
    assert not origin.log
    assert all(" copy/x/" in request for request in paths(mirror, "copy"))
    store_suite.push(store, content.blob("pushed"))
    assert origin.requests("PUT")
    assert not mirror.requests("PUT")


def test_writes_at_the_location(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """Writes go to the location, and so do the checks before them."""
    fill(mirror, "copy/x")
    hosts = Hosts(registries=conf(origin.host, mirror.host))
    store = make_client(hosts).store(NAME, "ns/new", mirrored=False)
    blob = content.blob("pushed")
    assert not store.exists(blob.descriptor)
    store_suite.push(store, blob)
    assert origin.content.store("real/new").exists(blob.descriptor)
    assert not mirror.log


def test_every_mirror_gets_its_chance(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """They are asked in order, the location last."""
    with RegistryServer() as empty:
        hosts = Hosts(registries=conf(origin.host, empty.host, mirror.host))
        store = make_client(hosts).store(NAME, "ns/x")
        assert store.resolve("latest") == IMAGE.descriptor
        assert len(empty.requests("HEAD")) == 1
        assert len(mirror.requests("HEAD")) == 1
        fill(mirror, "copy/x")
        assert store.exists(BLOB.descriptor)
        assert len(origin.requests("HEAD")) == 1


def test_blobs_that_break(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """A blob that was damaged at a mirror is read elsewhere the next time."""
    fill(mirror, "copy/x")
    mirror.fail("GET", "/blobs/", corrupt=1, times=None)
    hosts = Hosts(registries=conf(origin.host, mirror.host))
    store = make_client(hosts).store(NAME, "ns/x")
    with pytest.raises(errors.DigestMismatch) as caught:
        store_suite.read(store, BLOB.descriptor)
    assert caught.value.temporary
    assert store_suite.read(store, BLOB.descriptor) == BLOB.data
    assert len(mirror.requests("GET", "/blobs/")) == 1


@pytest.mark.parametrize(
    "failure",
    [{"status": 500}, {"status": 503}, {"status": 429}, {"reset": True}],
)
def test_mirrors_that_fail(
    origin: RegistryServer,
    mirror: RegistryServer,
    make_client: MakeClient,
    observer: Recorder,
    failure: dict[str, Any],
) -> None:
    """After all retries it is given up for the whole run, and that is told."""
    mirror.fail(path="/manifests/", times=None, **failure)
    hosts = Hosts(registries=conf(origin.host, mirror.host))
    client = make_client(hosts)
    assert client.store(NAME, "ns/x").resolve("latest") == IMAGE.descriptor
    asked = len(mirror.log)
    with pytest.raises(errors.NotFound):
        client.store(NAME, "ns/y").resolve("latest")
    assert len(mirror.log) == asked
    (warning,) = observer.warnings
    assert warning.startswith(f"{mirror.host}: not asked any more")


def test_mirrors_that_refuse(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """One that refuses an image may give the next."""
    mirror.fail(path="/manifests/", status=403)
    fill(mirror, "copy/x")
    hosts = Hosts(registries=conf(origin.host, mirror.host))
    store = make_client(hosts).store(NAME, "ns/x")
    assert store.resolve("latest") == IMAGE.descriptor
    assert store.resolve("latest") == IMAGE.descriptor
    assert len(origin.requests("HEAD")) == 0
    assert len(mirror.requests("GET")) == 1


def test_without_access_to_the_location(
    mirror: RegistryServer, make_client: MakeClient, observer: Recorder
) -> None:
    """Where only mirrors can be reached, what is nowhere is no failure."""
    fill(mirror, "copy/x")
    down = f"127.0.0.1:{servers.free_port()}"
    store = make_client(Hosts(registries=conf(down, mirror.host))).store(
        NAME, "ns/x"
    )
    with pytest.raises(errors.NotFound):
        store.resolve("none")
    assert not store.exists(content.blob("none").descriptor)
    mirror.behaviour.referrers = False
    assert not store.referrers(IMAGE.descriptor)
    mirror.fail(path="/tags/", status=405)
    with pytest.raises(errors.Refused):
        store.tags()
    (warning,) = observer.warnings
    assert down in warning


def test_the_locations_failure_is_told(make_client: MakeClient) -> None:
    """When nobody answers at all, that is the failure."""
    down = [f"127.0.0.1:{servers.free_port()}" for _ in range(2)]
    store = make_client(Hosts(registries=conf(*down))).store(NAME, "ns/x")
    with pytest.raises(errors.Unreachable, match=down[0]):
        store.resolve("latest")


@pytest.mark.parametrize(
    ("pull", "by_tag", "by_digest"),
    [("all", 1, 1), ("digest-only", 0, 1), ("tag-only", 1, 0)],
)
def test_tags_and_digests(
    origin: RegistryServer,
    mirror: RegistryServer,
    make_client: MakeClient,
    pull: Pull,
    by_tag: int,
    by_digest: int,
) -> None:
    """A mirror may be for digests or for tags only."""
    hosts = Hosts(registries=conf(origin.host, mirror.host, pull=pull))
    store = make_client(hosts).store(NAME, "ns/x")
    store.resolve("latest")
    assert len(mirror.requests("HEAD")) == by_tag
    store.resolve(IMAGE.descriptor.digest)
    assert len(mirror.requests("HEAD")) == by_tag + by_digest


def test_what_a_tag_led_to(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """A mirror for tags gives the content of its tags, too."""
    newer = content.image("newer")
    target = mirror.content.store("copy/x")
    put(target, newer, "latest")
    hosts = Hosts(registries=conf(origin.host, mirror.host, pull="tag-only"))
    store = make_client(hosts).store(NAME, "ns/x")
    assert store.resolve("latest") == newer.descriptor
    assert store_suite.read(store, newer.descriptor) == newer.manifest.data


def test_credentials_are_those_of_the_host(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """Each physical host gets its own, never those of the name (C.7)."""
    mirror.gate = Basic("mirrors", "Zz9Mirror")
    origin.gate = Basic("origins", "Zz9Origin")
    known = {
        NAME: ("names", "Zz9Name"),
        f"{origin.host}/real": ("origins", "Zz9Origin"),
    }
    own = {mirror.host: ("mirrors", "Zz9Mirror")}
    registries = conf(origin.host, mirror.host)
    for credentials in (known, {**known, **own}):
        assert not any("Authorization" in r.headers for r in mirror.log)
        hosts = Hosts(
            credentials=Credentials(credentials), registries=registries
        )
        store = make_client(hosts).store(NAME, "ns/x")
        assert store.resolve("latest") == IMAGE.descriptor
        assert mirror.log
    for server, gate in ((mirror, mirror.gate), (origin, origin.gate)):
        sent = {r.headers.get("Authorization") for r in server.log} - {None}
        assert len(sent) == 1
        assert all(gate.admits(str(header), "") for header in sent)


def test_blocked(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """A blocked namespace is neither read nor written; the file is named."""
    fill(mirror, "copy/x")
    registries = conf(origin.host, mirror.host, blocked=True)
    client = make_client(Hosts(registries=registries))
    store = client.store(NAME, "ns/x")
    works: Sequence[Callable[[], object]] = (
        lambda: store.resolve("latest"),
        lambda: store_suite.push(store, content.blob("blocked")),
    )
    for work in works:
        with pytest.raises(
            errors.AccessDenied,
            match=r"reg\.invalid/ns/x: blocked by /etc/containers/",
        ):
            work()
    assert not origin.log
    assert not mirror.log


def test_catalogs_are_the_locations(
    origin: RegistryServer, make_client: MakeClient
) -> None:
    """A registry that is all elsewhere is listed there."""
    hosts = Hosts(
        registries=RegistriesConf(
            [
                RegistryTable(NAME, origin.host, "file"),
                RegistryTable("blocked.invalid", "", "file", blocked=True),
            ]
        )
    )
    client = make_client(hosts)
    assert client.catalog(NAME).repositories() == ["real/x"]
    with pytest.raises(errors.AccessDenied, match="blocked by file"):
        client.catalog("blocked.invalid").repositories()


def test_referrers_that_the_mirror_cannot_tell(
    origin: RegistryServer, make_client: MakeClient
) -> None:
    """A mirror without the API does not hide what the location has."""
    with RegistryServer(behaviour=Behaviour(referrers=False)) as mirror:
        fill(mirror, "copy/x")
        artifact = content.artifact("sbom", IMAGE.descriptor)
        store_suite.store_all(origin.content.store("real/x"), artifact)
        hosts = Hosts(registries=conf(origin.host, mirror.host))
        store = make_client(hosts).store(NAME, "ns/x")
        found = store.referrers(IMAGE.descriptor)
    assert [each.digest for each in found] == [artifact.descriptor.digest]


def test_mirrors_that_break_the_protocol(
    origin: RegistryServer, mirror: RegistryServer, make_client: MakeClient
) -> None:
    """A mirror that hands out nonsense cannot stop the copy."""
    mirror.fail(headers={"Docker-Content-Digest": "sha256:../x"}, times=None)
    fill(mirror, "copy/x")
    hosts = Hosts(registries=conf(origin.host, mirror.host))
    store = make_client(hosts).store(NAME, "ns/x")
    assert store.resolve("latest") == IMAGE.descriptor
    assert origin.requests("HEAD")


def test_a_failure_is_told_once() -> None:
    """However many threads find out at the same time."""
    told: list[errors.StoreError] = []
    server = Server(lambda request: unreached(), told.append)
    for number in range(3):
        server.failed(errors.StoreError(str(number)))
    assert server.is_down
    assert [str(error) for error in told] == ["0"]


def unreached() -> RegistrySession:
    raise AssertionError


def test_time_that_is_over_is_no_failure() -> None:
    """An image with time left reads the blob from the same mirror."""
    server = Server(mock.create_autospec(RegistrySession))
    mirror = Replica(server, mock.create_autospec(RepositoryRequests))
    stream = mock.create_autospec(Download, instance=True)
    stream.read.side_effect = errors.OutOfTime("not done within 1 s")
    with (
        mirror.content(stream, BLOB.descriptor, "x") as blob,
        pytest.raises(errors.OutOfTime),
    ):
        blob.read()
    assert mirror.serves(BLOB.descriptor.digest)
