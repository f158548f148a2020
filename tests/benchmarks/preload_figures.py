"""The figures of the simulation of a preload, measured on this machine.

As root, with podman, docker-registry and ansible::

    python -m tests.benchmarks.preload_figures [--megabytes 256]

Prints each figure beside the one that `preload plan` assumes.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable

import yaml

from imageprep_client.ansible.session import HostShell, Session
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.preload.simulation import Figures
from imageprep_client.testing import images
from tests import inventory_nodes
from tests.benchmarks import site

_HOSTS, _ROUNDS, _IMAGES = 20, 5, 16


def main() -> int:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    size = parser.parse_args().megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        found = _controller(work) | _registry(work, size) | _node(work)
    assumed = Figures()
    print(f"{'figure':<12}{'here':>16}{'assumed':>16}")
    for figure, value in found.items():
        print(f"{figure:<12}{value:>16,.3f}{getattr(assumed, figure):>16,.3f}")
    return 0


def _processor(work: Callable[[], object]) -> float:
    """Seconds of processor time of this process and its children."""

    def used() -> float:
        usages = [
            resource.getrusage(who)
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = used()
    work()
    return used() - before


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _controller(work: pathlib.Path) -> dict[str, float]:
    """The cost of commands on this host; a look is one, as a start is."""
    names = [f"n{number}" for number in range(_HOSTS)]
    local = {"ansible_connection": "local"}
    inventory = work / "hosts.yaml"
    hosts = dict.fromkeys(names, local)
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))

    def run(rounds: int, count: int) -> None:
        with Session(str(inventory), forks=count) as session:
            for _ in range(rounds):
                session.run(
                    {
                        name: HostShell("/bin/sh", ["echo\n"])
                        for name in names[:count]
                    },
                    name="look",
                    timeout=60,
                )

    first = _processor(lambda: run(1, 1))
    cycle = (_processor(lambda: run(1 + _ROUNDS, 1)) - first) / _ROUNDS
    many = _processor(lambda: run(_ROUNDS, _HOSTS)) - first
    look = (many - (_ROUNDS - 1) * cycle) / (_ROUNDS * _HOSTS)
    return {"setup": first, "cycle": cycle, "look": look}


def _registry(work: pathlib.Path, size: int) -> dict[str, float]:
    """Bytes per second that a registry sends and a node unpacks."""
    found = site.one_layer(size)
    with (
        site.filled(work / "large", found) as source,
        inventory_nodes.nodes(work / "one", {"rack": ["n"]}) as nodes,
    ):
        (image,) = found.images
        layer = max(image.blobs, key=lambda blob: blob.descriptor.size)
        url = f"http://{source.host}/v2/{image.repository}/blobs/"

        def download() -> None:
            blob = url + layer.descriptor.digest
            with urllib.request.urlopen(blob) as answer:  # noqa: S310 - HTTP
                while answer.read(1 << 20):
                    pass

        sent = layer.descriptor.size / _seconds(download)
        taken = _pull(nodes, source, image.repository, image.descriptor)
    return {"site_link": sent, "node_rate": layer.descriptor.size / taken}


def _node(work: pathlib.Path) -> dict[str, float]:
    """The time of a node for a small image."""
    found: images.ImageSet = site.overcloud(_IMAGES, 1_000_000)
    with (
        site.filled(work / "small", found) as source,
        inventory_nodes.nodes(work / "two", {"rack": ["n"]}) as nodes,
    ):
        spent = sum(
            _pull(nodes, source, image.repository, image.descriptor)
            for image in found.images
        )
    return {"image": spent / _IMAGES}


def _pull(
    nodes: inventory_nodes.Nodes,
    source: site.Source,
    repository: str,
    descriptor: Descriptor,
) -> float:
    """Seconds for the pull of an image by podman on the node."""
    name = f"{source.host}/{repository}@{descriptor.digest}"
    return _seconds(
        lambda: nodes.podman("n", "pull", "-q", "--tls-verify=false", name)
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}: {error.stderr}")
