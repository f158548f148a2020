"""The requests of a run: the necessary ones, and none twice."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client import wording
from imageprep_client.oci.digest import of as digest_of
from imageprep_client.oci.manifest import parse
from imageprep_client.testing import images
from imageprep_client.testing.registry import RegistryServer
from tests.functional import deployment
from tests.functional.deployment import Deployment

COUNT = len(deployment.NAMES)
TREE = ("--image-serve", "tree")


@pytest.fixture
def target(site: Deployment) -> Iterator[RegistryServer]:
    """The registry that images are pushed to."""
    with RegistryServer() as target:
        discover(site, target.host)
        yield target


def discover(site: Deployment, destination: str) -> None:
    """Let the label `version` give the tags."""
    site.environment(
        site.entry(
            set=site.values(),
            tag_from_label="version",
            push_destination=destination,
        )
    )


def outcomes(site: Deployment, *words: str, **expected: str) -> set[str]:
    """The outcomes of the images of a run."""
    return {str(row["Outcome"]) for row in site.rows(*words, **expected)}


def counted(server: RegistryServer) -> dict[str, int]:
    """How often it got each method."""
    return dict(collections.Counter(each.method for each in server.log))


def test_requests_into_a_registry(
    site: Deployment, target: RegistryServer
) -> None:
    """A run with nothing to do asks each side once for an image."""
    assert outcomes(site) == {"copied"}
    site.registry.log.clear()
    target.log.clear()

    assert outcomes(site) == {"present"}
    assert counted(site.registry) == {"GET": COUNT}
    assert counted(target) == {"HEAD": COUNT}


@pytest.mark.parametrize("place", ["registry", "tree"])
def test_sizes_of_what_is_there(
    site: Deployment, target: RegistryServer, place: str
) -> None:
    """The bytes of images that are present are those that the first run had,
    in the reports and in the summary.
    """
    words = ("--report", "report.json", *(TREE if place == "tree" else ()))
    if place == "tree":
        discover(site, deployment.UNDERCLOUD)
    sizes = []
    for _ in range(2):
        told = site.run(*words).summary
        rows = json.loads((site.home / "report.json").read_text())["images"]
        sizes.append(
            [row["copied"] + row["mounted"] + row["kept"] for row in rows]
        )
    assert sizes[0] == sizes[1]
    assert all(sizes[1])
    there = wording.size(sum(sizes[1]))
    assert f"0 B copied, {there} already there or shared" in told


def test_requests_into_a_tree(site: Deployment) -> None:
    """Into a tree it asks the source once for an image."""
    discover(site, deployment.UNDERCLOUD)
    assert outcomes(site, *TREE) == {"copied"}
    site.registry.log.clear()

    assert outcomes(site, *TREE) == {"present"}
    assert counted(site.registry) == {"GET": COUNT}


def cache(site: Deployment) -> Path:
    """The content of registries that runs keep."""
    home = Path(site.openstack.environment["XDG_CACHE_HOME"])
    return home / "imageprep-client" / "content"


def test_tree_has_the_config(site: Deployment) -> None:
    """Without a cache the labels are read in the tree."""
    discover(site, deployment.UNDERCLOUD)
    site.run(*TREE)
    for file in cache(site).iterdir():
        file.unlink()
    site.registry.log.clear()

    assert outcomes(site, *TREE) == {"present"}
    assert counted(site.registry) == {"GET": COUNT}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content.replace(b"17.1.3", b"66.6.6"),
        lambda content: content[:-1],
    ],
)
def test_damaged_cache(
    site: Deployment, target: RegistryServer, spoil: Callable[[bytes], bytes]
) -> None:
    """Content of the cache that has another digest is fetched again."""
    site.run()
    for file in cache(site).iterdir():
        file.write_bytes(spoil(file.read_bytes()))
    site.registry.log.clear()

    assert outcomes(site, "--output-env-file", "out.yaml") == {"present"}
    assert len(site.registry.requests("GET", "/blobs/")) == COUNT
    assert site.defaults()["ContainerNovaApiImage"].endswith(":17.1.3")


def test_private_cache(site: Deployment, target: RegistryServer) -> None:
    """Only the user may look into the cache."""
    site.run()

    assert cache(site).stat().st_mode & 0o077 == 0
    assert {f.stat().st_mode & 0o777 for f in cache(site).iterdir()} == {0o600}


def asked(site: Deployment) -> list[str]:
    """The digests of the blobs that were asked for."""
    requests = site.registry.requests("GET", "/blobs/")
    return [request.path.rpartition("/")[2] for request in requests]


def test_cold(site: Deployment, target: RegistryServer) -> None:
    """A cold run asks for no blob, config or manifest twice."""
    site.run()

    assert sorted(asked(site)) == sorted(site.images.blobs)
    assert len(site.registry.requests("GET", "/manifests/")) == COUNT
    assert len(target.requests("HEAD", "/manifests/")) == COUNT


def test_further_image(site: Deployment, target: RegistryServer) -> None:
    """Layers of images that are present are mounted, not read again."""
    entry = site.entry(
        set=site.values(),
        tag_from_label="version",
        push_destination=target.host,
        excludes=["keystone"],
    )
    site.environment(entry)
    site.run()
    discover(site, target.host)

    assert outcomes(site) == {"present", "copied"}
    assert sorted(asked(site)) == sorted(site.images.blobs)


def test_moved_versioned_tag(site: Deployment, target: RegistryServer) -> None:
    """Where the destination has another image under the tag, the source's is
    copied.
    """
    site.run()
    other = images.random_image(
        "other", repository="ns/openstack-keystone", tags=["17.1.3"]
    )
    images.write([other], target.content.store)

    assert outcomes(site) == {"copied", "present"}
    store = target.content.store("ns/openstack-keystone")
    assert store.resolve("17.1.3").digest == site.digest("keystone")


# --- content that a registry lost


def lose(server: RegistryServer, name: str) -> str:
    """Let a registry lose the largest layer of an image."""
    store = server.content.store(f"ns/openstack-{name}")
    root = store.resolve("17.1.3")
    with store.fetch(root) as stream:
        manifest = parse(stream.read(), root.media_type, root.digest)
    layer = max(manifest.layers, key=lambda each: each.size)
    for repository in server.content.repositories():
        other = server.content.store(repository)
        if other.exists(layer):
            other.delete(layer)
    return layer.digest


def age(site: Deployment, days: float) -> None:
    """Let earlier runs have been so long ago."""
    path = cache(site).with_name("checked.json")
    record = json.loads(path.read_text())
    for image, (digest, when) in record.items():
        record[image] = (digest, when - days * 24 * 3600)
    path.write_text(json.dumps(record))


LOST = r"[^\n]*content is missing; it is copied again[^\n]*\s*"


@pytest.mark.parametrize("words", [(), ("--recheck",)])
def test_lost_layer(
    site: Deployment, target: RegistryServer, words: tuple[str, ...]
) -> None:
    """An image that lacks a layer is not present: it is copied again, by
    the next run after a day, and by one that is told to look.
    """
    site.run()
    lost = lose(target, "keystone")
    if not words:
        age(site, 1.1)

    assert "copied" in outcomes(site, *words, stderr=f"({LOST})*")
    store = target.content.store("ns/openstack-keystone")
    with store.fetch(site.images.blobs[lost].descriptor) as stream:
        assert digest_of(stream.read()) == lost
    assert outcomes(site, "--recheck") == {"present"}


def test_lost_layer_in_a_dry_run(
    site: Deployment, target: RegistryServer
) -> None:
    """A dry run says that the image would be copied."""
    site.run()
    lose(target, "keystone")

    assert "planned" in outcomes(
        site, "--recheck", "--dry-run", stderr=f"({LOST})*"
    )


def test_recheck_notes_what_it_saw(
    site: Deployment, target: RegistryServer
) -> None:
    """An image seen whole is not examined again on the same day."""
    site.run()
    age(site, 2)
    site.run()
    assert target.requests("HEAD", "/blobs/")
    target.log.clear()
    site.run()

    assert not target.requests("HEAD", "/blobs/")


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": ["b", "c"]}'])
def test_damaged_record(
    site: Deployment, target: RegistryServer, text: str
) -> None:
    """A damaged record of earlier runs means that all is examined."""
    site.run()
    cache(site).with_name("checked.json").write_text(text)
    target.log.clear()

    assert outcomes(site) == {"present"}
    assert target.requests("HEAD", "/blobs/")
