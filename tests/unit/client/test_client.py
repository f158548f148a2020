"""The composition root: which store stands behind which name."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client import images as container_images
from imageprep_client.client import registry_options
from imageprep_client.client import stores as opening
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.heat import environment, parameters
from imageprep_client.host import undercloud
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.retry import BRIEF, PATIENT, RetryPolicy
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from tests.recorder import Recorder
from tests.servers import free_port

UNDERCLOUD = "uc.example.com:8787"
Open = Callable[..., Stores]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials, and no tree of the host's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(opening, "TREE", str(tmp_path / "host"))
    monkeypatch.setattr(undercloud, "is_this_host", "uc.example.com".__eq__)
    return tmp_path


@pytest.fixture
def open_stores() -> Iterator[Open]:
    """Opens stores with settings and parameters; closes them."""
    opened = []

    def open_them(*, policy: RetryPolicy = PATIENT, **given: object) -> Stores:
        names = {field.name for field in dataclasses.fields(RegistryOptions)}
        settings = {key: given.pop(key) for key in names & set(given)}
        options = RegistryOptions(**settings)  # type: ignore[arg-type]
        if given:
            layer = environment.from_data({"parameter_defaults": given}, "e")
            options = options.with_parameters(
                parameters.parse(environment.merge([layer]))
            )
        stores = Stores(options, Observer(), policy=policy)
        opened.append(stores)
        return stores

    yield open_them
    for stores in opened:
        stores.close()


# --- settings


def test_settings_are_values() -> None:
    """Settings that say the same are the same, and stay so."""
    options = RegistryOptions(image_serve="/a")
    assert options == RegistryOptions(image_serve="/a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.image_serve = "/b"  # type: ignore[misc]


def test_missing_authorities(open_stores: Open) -> None:
    """A file of authorities that is not there is told at once."""
    with pytest.raises(errors.InvalidFile, match=r"no\.crt: no such file"):
        open_stores(cacert="no.crt")


def test_impossible_authorities(open_stores: Open) -> None:
    """So is one that no file can have as a name."""
    with pytest.raises(errors.InvalidFile, match="no file name"):
        open_stores(cacert="a\0b")


def test_cacert_is_a_file(open_stores: Open, tmp_path: Path) -> None:
    """A FIFO in place of the authorities is not waited for."""
    os.mkfifo(tmp_path / "ca.crt")
    with pytest.raises(errors.InvalidFile, match="not a regular file"):
        open_stores(cacert=str(tmp_path / "ca.crt"))


@pytest.mark.parametrize(
    "text",
    ["registry.example", "=https://x/", "r.example=http://x/", "r.example=x"],
)
def test_bad_token_server(open_stores: Open, text: str) -> None:
    """A token server has a registry, and a URL with TLS."""
    with pytest.raises(errors.InvalidArgument, match="--token-server"):
        open_stores(token_servers=(text,))


def test_two_token_servers(open_stores: Open) -> None:
    """A registry has one token server, however often it is named."""
    first, other = (
        "r.example=https://a.example/",
        "r.example=https://b.example/",
    )
    open_stores(token_servers=(first, first))
    with pytest.raises(errors.InvalidArgument, match="given twice"):
        open_stores(token_servers=(first, other))


def test_token_server() -> None:
    """A token server is named by its registry, in any case."""
    url = "https://auth.example/jwt"
    options = RegistryOptions(token_servers=(f"R.example:5000={url}",))
    known = registry_options.hosts(options)
    assert known.token_servers("r.example:5000") == {url}


def test_bad_insecure_registry(open_stores: Open) -> None:
    """A registry that is none says which options to look at."""
    with pytest.raises(errors.InvalidArgument) as caught:
        open_stores(insecure_registries=("http://x",))
    assert "--insecure-registry" in str(caught.value.hint)


# --- destinations


@pytest.mark.parametrize("place", [UNDERCLOUD, "quay.io"])
def test_tree_given(open_stores: Open, home: Path, place: str) -> None:
    """The tree of the option stands for every registry."""
    stores = open_stores(image_serve=str(home / "tree"))
    store = stores.destination(place, "ns/a")
    assert store.registry == f"image-serve:{home / 'tree'}"


def test_own_port_with_a_tree(open_stores: Open, home: Path) -> None:
    """This host's port 8787 is the host's tree, when there is one."""
    (home / "host").mkdir()
    store = open_stores().destination(UNDERCLOUD, "ns/a")
    assert store.registry == f"image-serve:{home / 'host'}"


@pytest.mark.parametrize(
    "place",
    ["uc.example.com:5000", "other.example.com:8787", "uc.example.com"],
)
def test_other_port_or_host(open_stores: Open, home: Path, place: str) -> None:
    """Another port, and another host, are registries."""
    (home / "host").mkdir()
    assert open_stores().destination(place, "ns/a").registry == place


def test_own_port_without_a_tree(open_stores: Open) -> None:
    """Without a tree, port 8787 of this host is a registry, too."""
    assert open_stores().destination(UNDERCLOUD, "ns/a").registry == UNDERCLOUD


@pytest.mark.parametrize("transport", ["image-serve", "oci"])
def test_transports(open_stores: Open, home: Path, transport: str) -> None:
    """A transport and its place is that place, whatever the options say."""
    place = f"{transport}:{home / 'place'}"
    stores = open_stores(image_serve=str(home / "tree"))
    assert str(stores.destination(place, "ns/a").registry) == place


def test_memory_is_shared(open_stores: Open) -> None:
    """One name in memory is one registry for all repositories of a run."""
    stores = open_stores()
    first = stores.destination("memory:x", "ns/a")
    image = content.image("a")
    for piece in image.pieces:
        first.push(piece.descriptor, piece.open())

    assert stores.destination("memory:x", "ns/a").exists(image.descriptor)


@pytest.mark.parametrize("transport", ["image-serve", "oci"])
def test_sources_in_directories(
    open_stores: Open, home: Path, transport: str
) -> None:
    """A layout and a tree are read where the name says so."""
    for directory in ("v2", "ns/a/blobs"):
        (home / "place" / directory).mkdir(parents=True)
    (home / "place" / "ns" / "a" / "oci-layout").touch()
    place = f"{transport}:{home / 'place'}"
    stores = open_stores(image_serve=str(home / "tree"))
    store = stores.source(Reference.parse(f"{place}//ns/a:1"))
    assert str(store.registry) == place


def test_sources_are_registries(open_stores: Open, home: Path) -> None:
    """A tree stands for destinations only."""
    stores = open_stores(image_serve=str(home / "tree"))
    source = stores.source(Reference.parse("quay.io/ns/a:1"))
    assert source.registry == "quay.io"


# --- what nodes have to be told


def test_served_names_are_insecure(open_stores: Open, home: Path) -> None:
    """Nodes pull what is in a tree over plain HTTP."""
    stores = open_stores(image_serve=str(home / "tree"))
    assert stores.insecure([UNDERCLOUD]) == frozenset()
    stores.destination(UNDERCLOUD, "ns/a")
    assert stores.insecure([UNDERCLOUD, "q.io"]) == {UNDERCLOUD}


@pytest.mark.parametrize("transport", ["image-serve", "oci", "memory"])
def test_transports_are_no_registries(
    open_stores: Open, home: Path, transport: str
) -> None:
    """A registry that nodes cannot pull from is not listed for them."""
    stores = open_stores()
    place = f"{transport}:{home / 'place'}"
    stores.destination(place, "ns/a")
    assert stores.insecure([place, f"{transport}:"]) == frozenset()


def test_plain_registries_are_insecure(open_stores: Open) -> None:
    """A registry that was spoken to over plain HTTP is listed."""
    with RegistryServer() as server:
        stores = open_stores()
        store = stores.source(Reference.parse(f"{server.host}/ns/a:1"))
        with pytest.raises(errors.NotFound):
            store.resolve("1")
        assert stores.insecure([server.host]) == {server.host}


# --- patience


def test_impatient(open_stores: Open) -> None:
    """Without patience a registry that does not answer has one chance."""
    observer = Recorder()
    stores = Stores(RegistryOptions(), observer, policy=BRIEF)
    name = f"127.0.0.1:{free_port()}/ns/a:1"
    with pytest.raises(errors.Unreachable):
        stores.source(Reference.parse(name)).resolve("1")
    stores.close()
    assert not observer.retries


# --- locks


def test_locked(open_stores: Open, home: Path) -> None:
    """All trees of a run are locked while it writes, and free after it."""
    stores = open_stores()
    for name in ("b", "a"):
        stores.destination(f"image-serve:{home / name}", "ns/a")
    told: list[str] = []
    with stores.locked(told.append):
        assert (home / "a/.lock").exists()
        assert (home / "b/.lock").exists()
    with ImageServeTree(home / "a").lock(told.append):
        pass
    assert not told


def test_nothing_to_lock(open_stores: Open) -> None:
    """Registries and memory have no lock."""
    stores = open_stores()
    stores.destination("memory:x", "ns/a")
    with stores.locked(pytest.fail):
        pass


def test_tree_that_cannot_be(open_stores: Open, home: Path) -> None:
    """A tree that cannot be written to is told before anything is."""
    (home / "file").write_text("x")
    stores = open_stores(image_serve=str(home / "file"))
    stores.destination(UNDERCLOUD, "ns/a")
    with (
        pytest.raises(errors.InvalidArgument, match="not a directory"),
        stores.locked(pytest.fail),
    ):
        pass  # pragma: no cover


# --- the client


def test_prepare(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without settings prepares what a request names."""

    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = home / "env.yaml"
    path.write_text(
        "parameter_defaults: {ContainerImagePrepare: [{includes: [keystone],"
        " set: {namespace: '127.0.0.1:1/ns', tag: '1'}}]}"
    )
    request = container_images.PrepareRequest(
        environment_files=[str(path)], release="zed"
    )
    result = container_images.ContainerImages().prepare(request)

    assert {row.outcome for row in result.rows} == {"unchecked"}
    assert "ContainerKeystoneImage" in result.parameters
