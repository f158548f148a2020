"""``run --from``: images read at another place than their names say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.heat.parameters import INSECURE_REGISTRIES
from imageprep_client.testing.registry import RegistryServer
from tests.functional import base, deployment
from tests.functional.deployment import Deployment

TREE = ("--image-serve", "tree")
OUTPUT = ("--output-env-file", "out.yaml", "--report", "report.json")


@pytest.fixture
def site(openstack: base.OpenStack) -> Iterator[Deployment]:
    """A registry with three images, and an environment that wants them."""
    with deployment.deployed(openstack) as found:
        yield found


@pytest.fixture(params=["tree", "layouts", "registry"])
def place(request: pytest.FixtureRequest, site: Deployment) -> Iterator[str]:
    """A place for the images of a run, below a path where that can be."""
    kinds = {
        "tree": f"image-serve:{site.home}/carried",
        "layouts": f"oci:{site.home}/carried//below",
    }
    if request.param in kinds:
        yield kinds[request.param]
    else:
        with RegistryServer() as registry:
            yield f"{registry.host}/below"


def isolated(
    site: Deployment, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run the command where there is no network at all."""
    program = Path(sys.executable).with_name("openstack")
    return subprocess.run(
        ["unshare", "--map-root-user", "--net", program, *site.words(*words)],
        env=site.openstack.environment,
        cwd=site.home,
        capture_output=True,
        text=True,
        check=False,
    )


def facts(site: Deployment, name: str = "report.json") -> list[Any]:
    """What the reports of both sides have to agree in."""
    rows = json.loads((site.home / name).read_text())["images"]
    keys = ("image", "source", "destination", "digest")
    return [[row[key] for key in keys] for row in rows]


def parameters(site: Deployment) -> dict[str, Any]:
    """The parameters that name images."""
    found = site.defaults()
    found.pop(INSECURE_REGISTRIES)
    return found


def copy_to(site: Deployment, place: str, **entry: Any) -> None:
    """Run with this place as the destination of all images."""
    site.environment(site.entry(push_destination=place, **entry))
    site.run("--release", "master")
    site.environment(site.entry(**entry))


def test_run_from_a_place(site: Deployment, place: str) -> None:
    """A run from the images of a run gives its parameters and digests."""
    copy_to(site, place)
    site.run(*TREE, *OUTPUT)
    expected = facts(site), site.defaults()
    asked = len(site.registry.requests())

    site.run("--image-serve", "other", *OUTPUT, "--from", place)

    assert (facts(site), site.defaults()) == expected
    assert len(site.registry.requests()) == asked
    for name in deployment.NAMES:
        store = site.tree("other").store(f"ns/openstack-{name}")
        assert store.holds(store.resolve("17.1"))


def labelled(site: Deployment) -> dict[str, Any]:
    """An entry whose images have versioned tags."""
    return {
        "set": site.values(tag="current-tripleo"),
        "tag_from_label": "{version}-{release}",
    }


def test_versioned_tags(site: Deployment, place: str) -> None:
    """The floating tag that the place lacks leads to the versioned one."""
    copy_to(site, place, **labelled(site))
    site.run(*TREE, *OUTPUT, "--release", "master")
    expected = facts(site), site.defaults()

    site.run(
        *("--image-serve", "other", *OUTPUT),
        *("--from", place, "--release", "master"),
    )

    assert (facts(site), site.defaults()) == expected
    assert parameters(site) == deployment.expected(tag="17.1.3-9")


@pytest.mark.parametrize("kind", ["image-serve", "oci"])
def test_without_a_network(site: Deployment, kind: str) -> None:
    """From a directory a run needs no network."""
    place = f"{kind}:{site.home}/carried"
    copy_to(site, place, **labelled(site))

    done = isolated(
        *(site, *TREE, *OUTPUT),
        *("--from", place, "--release", "master"),
    )

    assert done.returncode == 0, done.stderr
    assert parameters(site) == deployment.expected(tag="17.1.3-9")
    for name in deployment.NAMES:
        store = site.tree().store(f"ns/openstack-{name}")
        assert store.resolve("17.1.3-9").digest == site.digest(name)


def test_place_that_is_not_there(site: Deployment) -> None:
    """A directory that does not exist is refused before anything is done."""
    for kind in ("image-serve", "oci"):
        place = f"{kind}:{site.home}/nothing"
        site.run(
            *(*TREE, "--from", place),
            status=2,
            stderr=r"[^\n]*/nothing: no such directory",
        )


def test_image_that_is_not_there(site: Deployment) -> None:
    """An image that the place lacks is reported by both of its names."""
    copy_to(site, f"oci:{site.home}/carried")
    site.environment(site.entry(set=site.values(tag="17.1.3")))
    site.run(
        *(*TREE, "--from", f"oci:{site.home}/carried"),
        status=2,
        stderr=r".*: oci:[^\n]*/carried/ns/openstack-keystone:17\.1\.3:"
        r" manifest unknown.*",
    )
