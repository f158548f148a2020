"""Container tools pull from a tree, through each of its servers."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.oci.platform import Platform
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import images
from tests import apache, sampling, tree_server

_PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))
IMAGES = {
    image.repository: image
    for image in (
        images.random_image("a", repository="ns/oci", tags=["17.1"]),
        images.random_image(
            "b", repository="ns/docker", tags=["17.1"], form=images.DOCKER
        ),
        images.random_image(
            "c", repository="ns/index", tags=["17.1"], platforms=_PLATFORMS
        ),
        images.random_image(
            "d",
            repository="ns/list",
            tags=["17.1"],
            platforms=_PLATFORMS,
            form=images.DOCKER,
        ),
    )
}


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """Images of both families, and indexes of them."""
    with apache.readable_directory() as directory:
        images.write(IMAGES.values(), ImageServeTree(directory).store)
        yield directory


@pytest.fixture(scope="module", params=list(tree_server.SERVERS))
def registry(request: pytest.FixtureRequest, tree: Path) -> Iterator[str]:
    """``host:port`` of a server of the tree."""
    with tree_server.SERVERS[request.param](tree) as url:
        yield url.removeprefix("http://")


def run(*words: str | Path) -> bytes:
    """The stdout of a program; fails with all it says."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def by_tag(registry: str, repository: str) -> str:
    return f"docker://{registry}/{repository}:17.1"


def by_digest(registry: str, repository: str) -> str:
    digest = IMAGES[repository].descriptor.digest
    return f"docker://{registry}/{repository}@{digest}"


some_images = pytest.mark.parametrize(
    ("name", "repository"),
    sampling.some(itertools.product([by_tag, by_digest], sorted(IMAGES)), 3),
)


@some_images
def test_skopeo_inspects(
    registry: str, repository: str, name: Callable[[str, str], str]
) -> None:
    """skopeo gets the manifest or index byte for byte."""
    source = name(registry, repository)
    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", source)
    assert digests.of(raw) == IMAGES[repository].descriptor.digest


@some_images
def test_skopeo_copies(
    registry: str,
    repository: str,
    name: Callable[[str, str], str],
    tmp_path: Path,
) -> None:
    """skopeo copies all platforms; every digest is that of the source."""
    target = tmp_path / "copy"
    run(
        "skopeo",
        "copy",
        "--all",
        "--preserve-digests",
        "--insecure-policy",
        "--src-tls-verify=false",
        name(registry, repository),
        f"dir:{target}",
    )
    image = IMAGES[repository]
    manifest = (target / "manifest.json").read_bytes()
    assert digests.of(manifest) == image.descriptor.digest
    copied = {path.name.partition(".")[0] for path in target.iterdir()}
    expected = {blob.descriptor for blob in image.blobs}
    expected |= {each.descriptor for each in image.manifests[:-1]}
    assert copied >= {each.digest.partition(":")[2] for each in expected}


@some_images
def test_buildah_pulls(
    registry: str,
    repository: str,
    name: Callable[[str, str], str],
    tmp_path: Path,
) -> None:
    """buildah pulls into local storage under the source's digest."""
    buildah = (
        "buildah",
        "--storage-driver=vfs",
        f"--root={tmp_path / 'root'}",
        f"--runroot={tmp_path / 'runroot'}",
    )
    source = name(registry, repository)
    run(*buildah, "pull", "--tls-verify=false", source)
    listed = json.loads(run(*buildah, "images", "--json"))
    found = {each.get("digest") for each in listed}
    image = IMAGES[repository]
    assert found & {each.descriptor.digest for each in image.manifests}


def test_skopeo_lists_tags(registry: str) -> None:
    """skopeo lists the tags of a repository."""
    source = f"docker://{registry}/ns/oci"
    said = run("skopeo", "list-tags", "--tls-verify=false", source)
    assert json.loads(said)["Tags"] == ["17.1"]
