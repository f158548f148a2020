"""verify and prune against docker-registry, and its garbage collector."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.registries import PruneRequest, Registries
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import images
from tests import apache, programs, servers

SAMPLES = images.overcloud(
    {f"ns/{name}": ["1", "2"] for name in ("api", "compute", "conductor")},
    unique_bytes=300_000,
    platforms=(images.AMD64, images.ARM64),
    signed=True,
)
NEW = images.random_image("new", repository="ns/api", tags=["3"])


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[servers.DockerRegistry]:
    """A docker-registry with signed indexes."""
    with servers.docker_registry(tmp_path / "registry") as registry:
        fill(registry)
        yield registry


def fill(registry: servers.DockerRegistry) -> None:
    with RegistryClient() as client:
        images.write(
            [*SAMPLES.images, NEW],
            lambda name: client.store(registry.host, name),
        )


def blob_file(registry: servers.DockerRegistry, digest: str) -> Path:
    """Where docker-registry keeps a blob."""
    algorithm, _, text = digest.partition(":")
    home = registry.directory / "data/docker/registry/v2/blobs"
    return home / algorithm / text[:2] / text / "data"


def stored(registry: servers.DockerRegistry) -> int:
    """Bytes of all blobs and manifests."""
    home = registry.directory / "data/docker/registry/v2/blobs"
    return sum(path.stat().st_size for path in home.rglob("data"))


def keep(tmp_path: Path, *names: str) -> PruneRequest:
    path = tmp_path / "env.yaml"
    lines = [f"  Container{n}Image: {name}" for n, name in enumerate(names)]
    path.write_text("\n".join(["parameter_defaults:", *lines, ""]))
    return PruneRequest(environment_files=[str(path)])


def test_verify_whole(registry: servers.DockerRegistry) -> None:
    """Of a registry that was filled and left alone nothing is wrong."""
    verdict = Registries().verify(registry.host)

    assert verdict.problems == []
    assert verdict.size == sum(
        {
            blob.descriptor.digest: blob.descriptor.size
            for image in (*SAMPLES.images, NEW)
            for blob in image.blobs
        }.values()
    )


def test_verify_broken(registry: servers.DockerRegistry) -> None:
    """A flipped bit and a lost blob are named in each repository."""
    corrupt, missing = (
        SAMPLES.images[0].manifests[0].layers[0],
        SAMPLES.images[1].manifests[0].config,
    )
    assert missing
    path = blob_file(registry, corrupt.digest)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    blob_file(registry, missing.digest).unlink()

    found = {
        (p.repository, p.name, p.problem)
        for p in Registries().verify(registry.host).problems
    }
    assert found == {
        *(
            (image.repository, corrupt.digest, "corrupt")
            for image in SAMPLES.images
        ),
        (SAMPLES.images[1].repository, missing.digest, "missing"),
    }


def test_prune(registry: servers.DockerRegistry, tmp_path: Path) -> None:
    """Named images stay whole; the collector frees the counted bytes."""
    before = stored(registry)
    request = keep(tmp_path, f"{registry.host}/ns/api:2")
    result = Registries().prune(request, registry.host)

    assert not result.collected
    assert Registries().verify(registry.host).problems == []
    with RegistryClient() as client:
        store = client.store(registry.host, "ns/api")
        assert sorted(store.tags())[:2] == ["1", "2"]
        assert store.referrers(store.resolve("2"))
        with pytest.raises(errors.NotFound):
            store.resolve("3")
        with pytest.raises(errors.NotFound):
            client.store(registry.host, "ns/compute").resolve("1")
    program = shutil.which("docker-registry")
    assert program
    programs.run(
        program,
        "garbage-collect",
        "--delete-untagged=false",
        str(registry.directory / "config.yml"),
    )
    assert before - stored(registry) == result.size


def test_prune_where_deleting_is_off(tmp_path: Path) -> None:
    """A registry that is not set up to delete is an error with a hint."""
    with servers.docker_registry(tmp_path / "registry") as registry:
        config = registry.directory / "config.yml"
        text = config.read_text().replace("enabled: true", "enabled: false")
    port = servers.free_port()
    config.write_text(
        "\n".join(
            f"  addr: 127.0.0.1:{port}" if "addr:" in line else line
            for line in text.splitlines()
        )
    )
    command = ["docker-registry", "serve", str(config)]
    host = f"127.0.0.1:{port}"
    with servers.running(command, port, registry.directory / "log"):
        fill(servers.DockerRegistry(host, registry.directory))
        with pytest.raises(errors.StoreError) as caught:
            Registries().prune(PruneRequest(keep_last=1), host)
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in str(caught.value.hint)


def test_pruned_tree_is_served(tmp_path: Path) -> None:
    """A web server serves a pruned tree whole."""
    with apache.readable_directory() as directory:
        images.write([*SAMPLES.images, NEW], ImageServeTree(directory).store)
        registries = Registries(RegistryOptions(image_serve=str(directory)))
        registries.prune(keep(tmp_path, "uc.example.com:8787/ns/api:2"))
        with apache.running(
            apache.undercloud_virtual_host, directory, hostile=False
        ) as url:
            host = url.removeprefix("http://")
            verdict = Registries().verify(host)
    assert verdict.problems == []
    assert (verdict.repositories, verdict.tags) == (1, 1)
