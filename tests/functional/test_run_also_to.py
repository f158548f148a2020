"""``run --also-to``: several destinations are filled in one pass."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping

import pytest

from imageprep_client.testing.faults import Fault, Faults
from imageprep_client.testing.registry import RegistryServer
from tests import servers
from tests.functional import deployment
from tests.functional.deployment import Deployment

COUNT = len(deployment.NAMES)


@pytest.fixture
def places() -> Iterator[list[RegistryServer]]:
    """Three registries to fill."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RegistryServer()) for _ in range(3)]


def into(site: Deployment, places: list[RegistryServer]) -> list[str]:
    """The words for a run into all of them."""
    site.environment(site.entry(push_destination=places[0].host))
    words = ["--output-env-file", "out.yaml", "--report", "report.json"]
    for place in places[1:]:
        words += ["--also-to", place.host]
    return words


def gets_of_blobs(server: RegistryServer) -> collections.Counter[str]:
    """How often each blob was asked for."""
    return collections.Counter(
        each.path.rpartition("/")[2]
        for each in server.log
        if each.method == "GET" and "/blobs/" in each.path
    )


def tags(server: RegistryServer) -> list[str]:
    """The repositories of a registry that have a tag."""
    return [
        name
        for name in server.content.repositories()
        if list(server.content.store(name).tags())
    ]


def test_source_is_read_once(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """Three registries are filled for the reading of one."""
    words = into(site, places)
    rows = site.rows(*words)
    assert {row["Outcome"] for row in rows} == {"copied"}
    assert len(rows) == COUNT * len(places)
    assert all(len(tags(place)) == COUNT for place in places)
    assert set(gets_of_blobs(site.registry).values()) == {1}


def test_parameters_name_the_first_destination(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """The push destination of the entry is what nodes pull from."""
    site.run(*into(site, places))
    images = [v for v in site.defaults().values() if isinstance(v, str)]
    assert len(images) == COUNT
    assert all(value.startswith(places[0].host) for value in images)


def test_report_has_a_row_for_each_destination(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """Every image has its outcome at every destination."""
    site.run(*into(site, places))
    report = json.loads((site.home / "report.json").read_text())
    counted = collections.Counter(
        row["destination"].partition("/")[0] for row in report["images"]
    )
    assert counted == {place.host: COUNT for place in places}


def test_next_run_does_what_lacks(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """A destination that was down is filled later, the others are left."""
    words = into(site, places)
    down = f"127.0.0.1:{servers.free_port()}"
    result = site.run(
        *words, "--also-to", down, "--keep-going", status=1, stderr=r"[\s\S]*"
    )
    assert down in result.stderr
    assert all(len(tags(place)) == COUNT for place in places)
    assert len(site.defaults()) > COUNT - 1
    with RegistryServer() as late:
        outcomes = collections.Counter(
            (row["Destination"].partition("/")[0], row["Outcome"])
            for row in site.rows(*words, "--also-to", late.host)
        )
        assert outcomes[late.host, "copied"] == COUNT
        assert outcomes[places[1].host, "present"] == COUNT


def test_table_has_destinations(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """Rows of one image are told apart by the place that it was copied to."""
    below = f"{places[0].host}/mirror"
    words = (*into(site, places), "--also-to", below)
    done = site.run(*words)
    table = done.stdout
    assert done.summary.startswith(f"{4 * COUNT} copies of {COUNT} images: ")
    assert len(re.findall(rf"\| {below} +\|", table)) == COUNT
    assert len(re.findall(rf"\| {places[0].host} +\|", table)) == COUNT


def outcomes(
    site: Deployment, words: Iterable[str]
) -> Mapping[tuple[str, str], int]:
    """The images with each outcome at each registry, after another run."""
    return collections.Counter(
        (row["Destination"].partition("/")[0], row["Outcome"])
        for row in site.rows(*words)
    )


def test_destination_that_fails_in_the_middle(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """One that takes no more holds up no other, and is filled later."""
    words = into(site, places)
    fault = Fault("PUT", "/manifests/", skip=1, times=None, status=403)
    places[1].faults.add(fault)
    result = site.run(*words, "--keep-going", status=1, stderr=r"[\s\S]*")
    assert f"2 of {3 * COUNT} copies failed" in result.stderr
    assert [len(tags(place)) for place in places] == [COUNT, 1, COUNT]
    assert len(site.defaults()) > COUNT - 1
    asked = len(site.registry.requests("GET", "/blobs/"))

    fault.times = 0
    assert outcomes(site, words) == {
        (places[0].host, "present"): COUNT,
        (places[1].host, "present"): 1,
        (places[1].host, "copied"): COUNT - 1,
        (places[2].host, "present"): COUNT,
    }
    # The layers have been there since the first run.
    assert len(site.registry.requests("GET", "/blobs/")) == asked


class KillingAt(Faults):
    """Kills a process when a blob is asked for.

    :param number: the number of the request, from 1.
    """

    def __init__(self, process: int, number: int) -> None:
        super().__init__()
        self._process = process
        self._left = number
        self._counting = threading.Lock()

    def of(self, method: str, path: str, size: int = 0) -> Fault | None:
        if method == "GET" and "/blobs/sha256:" in path:
            with self._counting:
                self._left -= 1
                if not self._left:
                    os.kill(self._process, signal.SIGKILL)
        return super().of(method, path, size)


def test_registry_killed_in_the_middle(
    site: Deployment, places: list[RegistryServer], tmp_path: pathlib.Path
) -> None:
    """The failure is that of the dead registry alone, until it runs again."""
    with servers.docker_registry(tmp_path / "dying") as dying:
        site.registry.faults = KillingAt(dying.process, 2)
        words = [*into(site, places[:2]), "--also-to", dying.host]
        result = site.run(
            *(*words, "--keep-going", "--concurrency", "1"),
            status=1,
            stderr=r"[\s\S]*",
        )
        assert f"{COUNT} of {3 * COUNT} copies failed" in result.stderr
        assert dying.host in result.stderr
        assert [len(tags(place)) for place in places] == [COUNT, COUNT, 0]
        assert len(site.defaults()) > COUNT - 1
        with dying.again():
            found = outcomes(site, words)
    assert found == {
        (places[0].host, "present"): COUNT,
        (places[1].host, "present"): COUNT,
        (dying.host, "copied"): COUNT,
    }


def test_refused_image(site: Deployment, places: list[RegistryServer]) -> None:
    """An image that the policy refuses gets a tag at no destination."""
    words = into(site, places)
    refused = "ns/openstack-keystone"
    scope = f"{site.registry.host}/{refused}"
    policy = {
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {scope: [{"type": "reject"}]}},
    }
    site.write("policy.json", json.dumps(policy))
    result = site.run(
        *(*words, "--keep-going", "--signature-policy", "policy.json"),
        status=1,
        stderr=r"[\s\S]*",
    )
    assert f"scope docker {scope}, requirement reject" in result.stderr
    others = {f"ns/openstack-{name}" for name in deployment.NAMES} - {refused}
    assert [set(tags(place)) for place in places] == [others] * len(places)
    assert set(gets_of_blobs(site.registry).values()) == {1}


def test_carry_takes_the_place_of_destinations(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """--carry and --also-to are refused together, before anything is done."""
    words = into(site, places)
    site.run(
        *(*words, "--carry", "carried.tar"),
        status=2,
        stderr=r"--carry takes the place of all destinations[\s\S]*",
    )
    assert not site.registry.log
    assert not list(site.home.glob("*.tar*"))


@pytest.mark.parametrize("twice", [0, 1])
def test_place_that_is_filled_anyway_is_refused(
    site: Deployment, places: list[RegistryServer], twice: int
) -> None:
    """A destination is named once, and nothing is done otherwise."""
    words = into(site, places)
    again = ["--also-to", places[twice].host]
    site.run(*words, *again, status=2, stderr=r"[\s\S]*--also-to [\s\S]*")
    assert not any(tags(place) for place in places)


def test_tree_and_registry(
    site: Deployment, places: list[RegistryServer]
) -> None:
    """The tree of the options has what is pushed, not what goes further."""
    site.environment()
    also = ("--also-to", places[1].host, "--also-to", "oci:layouts")
    rows = site.rows("--image-serve", "tree", *also)
    assert {row["Outcome"] for row in rows} == {"copied"}
    assert len(tags(places[1])) == COUNT
    assert len(list((site.home / "layouts").glob("**/index.json"))) == COUNT
    assert set(gets_of_blobs(site.registry).values()) == {1}
