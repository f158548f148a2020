"""The exit status where no destination stores anything: nothing was changed.

Status 1 means that something was stored, or made, before the failure.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import RegistryServer
from tests.functional import deployment
from tests.functional.deployment import Deployment

ANY = r"[\s\S]*"
#: The first is the answer of a path that is no registry, the next two that of
#: a proxy to read from only.
REFUSALS = (404, 405, 403, 401, 400, 413, 507)
COUNT = len(deployment.NAMES)


@pytest.fixture
def destination(site: Deployment) -> Iterator[RegistryServer]:
    """An empty registry, the push destination."""
    with RegistryServer() as server:
        site.environment(site.entry(push_destination=server.host))
        yield server


def holds_any(server: RegistryServer, site: Deployment) -> bool:
    """Whether a registry has any blob of the images."""
    return any(
        server.content.store(image.repository).exists(blob.descriptor)
        for image in site.images.images
        for blob in image.blobs
    )


def refuse(
    server: RegistryServer, method: str, path: str, status: int
) -> None:
    server.fail(method, path, status=status, times=None)


def push(site: Deployment, destination: RegistryServer, status: int) -> str:
    """Push one image; what is told of the failure."""
    return site.openstack(
        *("image-prepare", "push", "--registry-url", destination.host),
        f"{site.registry.host}/ns/openstack-keystone:17.1",
        status=status,
        stderr=ANY,
    ).stderr


@pytest.mark.parametrize("words", [(), ("--keep-going",)])
@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_uploads_are_refused(
    site: Deployment,
    destination: RegistryServer,
    method: str,
    status: int,
    words: tuple[str, ...],
) -> None:
    """A destination that takes no blob has none."""
    refuse(destination, method, "/blobs/uploads/", status)
    told = site.run(*words, status=2, stderr=ANY)
    assert str(status) in told.stderr
    assert not holds_any(destination, site)


def test_tokens_to_read_only(site: Deployment) -> None:
    """A token server that permits no push is a refusal."""
    gate = Bearer("me", "pw", anonymous=True)
    with RegistryServer(gate=gate) as guarded:
        site.environment(site.entry(push_destination=guarded.host))
        site.run(status=2, stderr=ANY)
        assert not holds_any(guarded, site)


def test_all_destinations_refuse(
    site: Deployment, destination: RegistryServer
) -> None:
    """Neither stored anything; where one did, something was changed."""
    with RegistryServer() as other:
        words = ("--also-to", other.host, "--keep-going")
        refuse(destination, "POST", "/blobs/uploads/", 404)
        refuse(other, "POST", "/blobs/uploads/", 403)
        told = site.run(*words, status=2, stderr=ANY)
        assert f"{2 * COUNT} of {2 * COUNT} copies failed" in told.stderr
        other.faults.clear()
        site.run(*words, status=1, stderr=ANY)


def test_manifests_are_refused(
    site: Deployment, destination: RegistryServer
) -> None:
    """Blobs without a manifest are a change; the next time there is none."""
    refuse(destination, "PUT", "/manifests/", 403)
    push(site, destination, 1)
    assert holds_any(destination, site)
    push(site, destination, 2)
