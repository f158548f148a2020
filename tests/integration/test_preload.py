"""Preloading nodes: real ansible, podman and docker-registry."""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import contextlib
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.client.preload import (
    NodeState,
    Preloading,
    PreloadRequest,
    PreloadResult,
    report_fields,
    status,
)
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import images
from tests import inventory_nodes, servers
from tests.inventory_nodes import Nodes
from tests.proxy import Proxy
from tests.servers import DockerRegistry

_GROUPS = {"compute": ["c1", "c2"], "edge": ["e1"]}
#: Blobs that podman downloads at once, and the manifest before them.
_BLOBS_AT_ONCE = 7
_BLOBS = r"^GET \S+/blobs/"


class Site:
    """Registries, nodes, and what they are to have.

    :ivar source: has the images.
    :ivar central, edge: the registries of the groups.
    """

    def __init__(
        self,
        source: DockerRegistry,
        central: DockerRegistry,
        edge: DockerRegistry,
        nodes: Nodes,
    ) -> None:
        self.source, self.central, self.edge = source, central, edge
        self.nodes = nodes
        self.images = images.overcloud(
            {f"ns/image{n}": ("1",) for n in range(4)}, unique_bytes=2_000_000
        )
        with RegistryClient() as client:
            images.write(
                self.images.images,
                lambda name: client.store(source.host, name),
            )
        self.all = [
            Reference.parse(f"{source.host}/{image.repository}:1")
            for image in self.images.images
        ]

    def request(self, **changes: object) -> PreloadRequest:
        """Computes need all from their site, the edge two from its own."""
        values: dict[str, object] = {
            "inventories": [str(self.nodes.inventory)],
            "lists": {"compute": self.all, "edge": self.all[:2]},
            "others": (),
            "sites": {
                "compute": Location.parse(self.central.host),
                "edge": Location.parse(f"{self.edge.host}/mirror"),
            },
            **changes,
        }
        return PreloadRequest(**values)  # type: ignore[arg-type]  # by name

    def preload(
        self, *, dry_run: bool = False, **changes: object
    ) -> PreloadResult:
        options = RegistryOptions()
        return Preloading(options).preload(
            self.request(**changes), dry_run=dry_run
        )

    def digests(self, count: int) -> dict[str, str]:
        """The digests of the first images by their names."""
        return {
            str(name): image.descriptor.digest
            for name, image in zip(
                self.all[:count], self.images.images, strict=False
            )
        }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with (
        servers.docker_registry(tmp_path / "s", access_log=True) as source,
        servers.docker_registry(tmp_path / "c", access_log=True) as central,
        servers.docker_registry(tmp_path / "e", access_log=True) as edge,
        inventory_nodes.nodes(tmp_path / "nodes", _GROUPS) as nodes,
    ):
        yield Site(source, central, edge, nodes)


def states(result: PreloadResult) -> dict[str, NodeState]:
    return {row.host: row.state for row in result.nodes}


def test_nodes_have_their_images(site: Site, tmp_path: Path) -> None:
    """Sites and nodes have what they need, and each blob left its source
    once; a second call asks for no blob, and sees what a node has lost.
    """
    planned = site.preload(dry_run=True)
    assert planned.estimate
    assert planned.estimate.node_bytes == sum(r.missing for r in planned.nodes)
    assert set(states(planned).values()) == {NodeState.PLANNED}
    assert [one.kept for one in planned.sites] == [0, 0]
    assert not site.central.requests(_BLOBS)
    assert not site.nodes.images("c1")

    report = tmp_path / "report.json"
    result = site.preload()
    report.write_text(json.dumps(report_fields(result, dry_run=False)))
    assert set(states(result).values()) == {NodeState.DONE}, result.nodes
    assert site.nodes.images("c1") == site.digests(4)
    assert site.nodes.images("c2") == site.digests(4)
    assert site.nodes.images("e1") == site.digests(2)
    asked = collections.Counter(
        line.split()[1].rpartition("/")[2]
        for line in site.source.requests(_BLOBS)
    )
    assert set(asked.values()) == {1}
    assert [one.kept for one in result.sites] == [0, 0]
    assert [row.missing for row in result.nodes] == [
        row.missing for row in planned.nodes
    ]
    assert status(str(report)).nodes == result.nodes

    before = len(site.central.requests(_BLOBS))
    again = site.preload()
    assert set(states(again).values()) == {NodeState.PRESENT}
    assert len(site.central.requests(_BLOBS)) == before
    copied = [one.copied for one in planned.sites]
    assert [(s.copied, s.kept) for s in again.sites] == [
        (0, b) for b in copied
    ]

    site.nodes.podman("c1", "rmi", "--all", "--force")
    site.nodes.podman("c2", "untag", str(site.all[1]))
    layers = site.nodes.graph("e1") / "overlay-layers" / "layers.json"
    layers.write_text("[]")
    less = {row.host: row for row in site.preload(dry_run=True).nodes}
    assert {host: row.state for host, row in less.items()} == {
        "c1": NodeState.PLANNED,
        "c2": NodeState.PLANNED,
        "e1": NodeState.FAILED,
    }
    assert less["c1"].missing
    assert (less["c1"].in_place, less["c2"].in_place) == (0, 3)


def test_failures_are_of_one_node(site: Site) -> None:
    """A killed program, a small disk and a site that is down are named; the
    others end, and the next call does what is missing.
    """
    small = site.nodes.graph("c2")
    small.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)],
        check=True,
    )
    site.nodes.kill_once("c1")
    down = Location.parse(f"127.0.0.1:{servers.free_port()}")
    sites = {**site.request().sites, "edge": down}
    result = site.preload(sites=sites)
    errors = {row.host: row.error for row in result.nodes}
    assert states(result) == {
        "c1": NodeState.FAILED,
        "c2": NodeState.FAILED,
        "e1": NodeState.LEFT,
    }
    assert "was killed" in errors["c1"]
    assert "bytes free, and 4 images" in errors["c2"]
    assert "refused" in errors["e1"]
    left = next(row for row in result.nodes if row.host == "e1")
    assert (left.in_place, left.missing) == (None, None)
    assert not site.nodes.images("c2")

    again = site.preload()
    assert states(again) == {
        "c1": NodeState.DONE,
        "c2": NodeState.FAILED,
        "e1": NodeState.DONE,
    }


def test_site_with_credentials(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nodes get credentials and authorities as files that end with the task,
    and no message, log, word or environment of a process has them. The rate
    makes a node pause, also without a proxy.
    """
    caplog.set_level(logging.DEBUG)
    processes = tmp_path / "processes"
    site.nodes.once("e1", f"ps axwwe > {processes}")
    with servers.docker_registry(
        tmp_path / "tls", tls=True, user="me", password="Zz9Preload"
    ) as secure:
        authfile = tmp_path / "auth.json"
        login = base64.b64encode(b"me:Zz9Preload").decode()
        authfile.write_text(
            json.dumps({"auths": {secure.host: {"auth": login}}})
        )
        options = RegistryOptions(
            authfile=str(authfile), cacert=str(secure.ca)
        )
        request = site.request(
            hosts="e1",
            sites={"edge": Location.parse(secure.host)},
            rate=8 * 400_000,
        )
        (row,) = Preloading(options).preload(request).nodes
    assert row.state is NodeState.DONE, row
    assert row.seconds >= row.missing / 400_000
    assert site.nodes.images("e1") == site.digests(2)
    left = []
    for path in Path("/run").glob("image-prepare-*/podman/auth.json"):
        # Those of other tests come and go.
        with contextlib.suppress(FileNotFoundError):
            left += [path] if login in path.read_text() else []
    assert not left
    seen = processes.read_text()
    assert "--authfile" in seen
    for text in (seen, caplog.text, str(row)):
        assert "Zz9Preload" not in text
        assert login not in text


def test_two_at_once(site: Site) -> None:
    """Two preloads of one node at the same time both end well."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: site.preload(hosts="e1"), range(2)))
    good = {NodeState.DONE, NodeState.PRESENT}
    assert all(set(states(one).values()) <= good for one in results), [
        (one.nodes, one.sites) for one in results
    ]
    assert site.nodes.images("e1") == site.digests(2)


def test_wrong_content_at_a_site(site: Site) -> None:
    """An image that a site has other bytes of fails alone."""
    site.preload(hosts="e1", lists={"compute": site.all, "edge": site.all})
    wrong = site.images.images[0].blobs[-1].descriptor
    hexdigest = wrong.digest.partition(":")[2]
    (path,) = site.edge.directory.glob(f"data/**/{hexdigest}/data")
    path.write_bytes(bytes(wrong.size))
    site.nodes.podman("e1", "rmi", "--all", "--force")
    result = site.preload(hosts="e1")
    (row,) = result.nodes
    assert row.state is NodeState.FAILED
    assert list(row.failures) == [str(site.all[0])]
    assert site.nodes.images("e1") == {
        str(site.all[1]): site.digests(2)[str(site.all[1])]
    }
    assert json.dumps(row.failures)


def test_registry_of_a_site_that_is_killed(site: Site) -> None:
    """The nodes of a registry that is killed name it, and those of another
    one end; the next call brings what is missing.
    """
    site.nodes.once("c1", f"kill -KILL {site.central.process}")
    result = site.preload()
    errors = {row.host: row.error for row in result.nodes}
    assert states(result)["c1"] is NodeState.FAILED
    assert states(result)["e1"] is NodeState.DONE
    assert site.central.host in errors["c1"]
    assert "refused" in errors["c1"]
    with site.central.again():
        assert states(site.preload())["c1"] is NodeState.DONE
    assert site.nodes.images("c1") == site.digests(4)


def test_rate_and_window(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte of a node comes by its pacing proxy and that of the site, at
    the rate; a window of one node has no more connections than podman makes.
    """
    name = "registry.test:5000"
    images = [
        Reference.parse(f"{name}/{image.repository}:1")
        for image in site.images.images
    ]
    with Proxy({name: site.source.host}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        options = RegistryOptions(insecure_registries=(name,))
        rate = 1_000_000
        result = Preloading(options).preload(
            site.request(
                lists={"all": images},
                sites={},
                rate=rate,
                nodes_per_registry=1,
            )
        )
    assert set(states(result).values()) == {NodeState.DONE}, result.nodes
    assert proxy.most <= _BLOBS_AT_ONCE
    began = 0.0
    for row in sorted(result.nodes, key=lambda row: row.seconds):
        assert row.seconds - began >= row.missing / rate - 0.1
        began = row.seconds
    assert site.nodes.images("e1").keys() == {str(one) for one in images}
