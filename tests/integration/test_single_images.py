"""Single images between a docker-registry, a tree and its web server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.images import ContainerImages, PushRequest
from imageprep_client.client.registries import Registries
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.heat.parameters import Credential
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests import programs, servers, tree_server
from tests.servers import DockerRegistry

LABELS = {"version": "17.1.3"}
IMAGE = content.image("single", labels=LABELS)
OTHER = content.image("other")
INDEX = content.index({"linux/amd64": IMAGE, "linux/arm64": OTHER})
PASSWORD = "Zz9Secret"


def fill(registry: DockerRegistry, *names: str) -> None:
    """Push the index there, and the image under two tags."""
    with RegistryClient() as registries:
        for name in names:
            store = registries.store(registry.host, name)
            put(store, INDEX, "many")
            put(store, IMAGE, "17.1", "17.1.3")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    """A docker-registry with two repositories."""
    with servers.docker_registry(tmp_path / "registry") as found:
        fill(found, "ns/one", "ns/two")
        yield found


def names(
    registries: Registries, registry_url: str | None = None
) -> list[str]:
    """The names of all images of a place."""
    return [image.name for image in registries.images(registry_url)]


@pytest.fixture
def commands() -> Registries:
    """The client as the commands use it without options."""
    return Registries()


def test_list(registry: DockerRegistry, commands: Registries) -> None:
    """Its catalog is listed with all tags."""
    assert names(commands, registry.host) == [
        f"{registry.host}/{name}:{tag}"
        for name in ("ns/one", "ns/two")
        for tag in ("17.1", "17.1.3", "many")
    ]


def test_show(registry: DockerRegistry, commands: Registries) -> None:
    """An index is shown with its platforms."""
    found = commands.show_image(f"{registry.host}/ns/one:many")
    assert found.digest == INDEX.descriptor.digest
    assert found.platforms == ["linux/amd64", "linux/arm64"]
    assert found.tags == ["17.1", "17.1.3", "many"]


def test_discover(registry: DockerRegistry) -> None:
    """The versioned tag is found."""
    name = f"{registry.host}/ns/one:17.1"
    assert ContainerImages().discover_tag(name, "version") == "17.1.3"


def test_push_with_passwords(registry: DockerRegistry, tmp_path: Path) -> None:
    """A registry that wants a password gets it, and skopeo the image."""
    with servers.docker_registry(
        tmp_path / "guarded", user="me", password=PASSWORD
    ) as guarded:
        row = ContainerImages().push_image(
            PushRequest(
                image=f"{registry.host}/ns/one:many",
                registry_url=f"{guarded.host}/mine",
                append_tag="-1",
                multi_arch=True,
                credential=Credential(username="me", password=PASSWORD),
            )
        )
        assert row.digest == INDEX.descriptor.digest
        skopeo = shutil.which("skopeo")
        assert skopeo, "skopeo is not installed; see tools/check"
        programs.run(
            *(skopeo, "copy", "--all", "--src-tls-verify=false"),
            *("--src-creds", f"me:{PASSWORD}"),
            f"docker://{guarded.host}/mine/ns/one:many-1",
            f"dir:{tmp_path}/pulled",
        )
    pulled = (tmp_path / "pulled" / "manifest.json").read_bytes()
    assert pulled == INDEX.manifest.data


def test_tree_and_its_server(registry: DockerRegistry, tmp_path: Path) -> None:
    """Images of a tree are listed and shown alike through HTTP."""
    tree = tmp_path / "tree"
    options = RegistryOptions(image_serve=str(tree))
    direct = Registries(options)
    for tag in ("17.1", "many"):
        ContainerImages(options).push_image(
            PushRequest(image=f"{registry.host}/ns/one:{tag}", multi_arch=True)
        )
    with tree_server.running(tree) as url:
        host = url.removeprefix("http://")
        remote = Registries()
        assert names(remote, host) == [
            f"{host}/{name}" for name in names(direct)
        ]
        near = direct.show_image("ns/one:many")
        far = remote.show_image("ns/one:many", host)
    assert (far.digest, far.layers, far.tags) == (
        near.digest,
        near.layers,
        near.tags,
    )


def test_delete_one_of_several_tags(
    registry: DockerRegistry, commands: Registries
) -> None:
    """Version 2 removes no tag alone: nothing is deleted, all is named."""
    with pytest.raises(errors.StoreError, match=r"tag 17\.1\.3, index many"):
        commands.delete_image(f"{registry.host}/ns/one:17.1")
    assert len(names(commands, registry.host)) == 6


def test_delete(registry: DockerRegistry, commands: Registries) -> None:
    """The index goes, then its image by digest with all tags."""
    commands.delete_image("ns/one:many", registry.host)
    name = f"{registry.host}/ns/one@{IMAGE.descriptor.digest}"
    assert commands.delete_image(name).tags == ("17.1", "17.1.3")
    assert names(commands, f"{registry.host}/ns") == [
        f"{registry.host}/ns/two:{tag}" for tag in ("17.1", "17.1.3", "many")
    ]


def test_delete_where_it_is_not_enabled(
    tmp_path: Path, commands: Registries
) -> None:
    """By default it deletes nothing; the hint says what to set."""
    with servers.docker_registry(
        tmp_path / "fixed", deletes=False
    ) as registry:
        fill(registry, "ns/one")
        with pytest.raises(errors.ServerFault) as caught:
            commands.delete_image(f"{registry.host}/ns/one:many")
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in str(caught.value.hint)


def test_delete_from_a_tree_of_hard_links(
    registry: DockerRegistry, tmp_path: Path
) -> None:
    """Another repository keeps the blobs that it shares."""
    tree = tmp_path / "tree"
    options = RegistryOptions(image_serve=str(tree))
    direct = Registries(options)
    for name in ("one", "two"):
        ContainerImages(options).push_image(
            PushRequest(
                image=f"{registry.host}/ns/{name}:many", multi_arch=True
            )
        )
    removed = direct.delete_image("ns/one:many")
    assert (removed.manifests, removed.blobs) == (3, 6)
    assert ImageServeTree(tree).store("ns/two").holds(INDEX.descriptor)
    assert names(direct) == ["ns/two:many"]
