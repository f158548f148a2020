"""Twenty nodes that are this host, against a play with a task per image.

As root, with podman, docker-registry and ansible. Prints a table with bars,
each row as soon as it is known; see doc/source/contributor/benchmarks.rst::

    python -m tests.benchmarks.preload [--nodes 20] [--images 86]
    python -m tests.benchmarks.preload --part preload --measured FILE
    python -m tests.benchmarks.preload --part play --measured FILE

The two parts are the whole, one after the other: what the first one measures
goes by way of the file. Exit status 1 when a bar is not met.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import yaml

from imageprep_client.client.preload import (
    NodeRow,
    NodeState,
    Preloading,
    PreloadRequest,
    PreloadResult,
)
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.preload.simulation import (
    Figures,
    SimulatedSite,
    simulate,
)
from imageprep_client.testing import images
from tests import inventory_nodes, proxy, servers
from tests.benchmarks import site
from tests.inventory_nodes import Nodes

_UNIQUE = 4_000_000
_WINDOW = 8
#: Connections of podman on one node: six blobs at once, and one before them;
#: and the one by which the program of a node sees that the registry is there.
_CONNECTIONS = 8


class Rows:
    """The rows so far.

    :ivar is_met: whether all bars are met.
    """

    def __init__(self) -> None:
        self.is_met = True

    def add(self, name: str, value: float, bar: float) -> None:
        """Print a row."""
        met = "yes" if value <= bar else "NO"
        self.is_met = self.is_met and value <= bar
        print(f"{name:<52}{value:9.3f}{bar:9.3f}  {met}", flush=True)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A preload of all nodes.

    :ivar processor: seconds of the controller's.
    """

    nodes: int
    images: int
    seconds: float
    processor: float


def main() -> int:
    """Measure, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--images", type=int, default=86)
    parser.add_argument("--part", choices=("preload", "play"))
    parser.add_argument("--measured", type=pathlib.Path)
    wanted = parser.parse_args()
    if wanted.part and not wanted.measured:
        parser.error("--part: --measured names the file of what is measured")
    rows = Rows()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        inventory = [f"n{n:02}" for n in range(wanted.nodes)]
        half = wanted.nodes // 2
        groups = {"one": inventory[:half], "two": inventory[half:]}
        found = site.overcloud(wanted.images, _UNIQUE)
        if wanted.part == "play":
            ours = Measured(**json.loads(wanted.measured.read_text()))
            if (ours.nodes, ours.images) != (wanted.nodes, wanted.images):
                parser.error(f"{wanted.measured} is of other nodes or images")
        else:
            ours = _measure(work, found, groups, rows)
            if wanted.measured:
                text = json.dumps(dataclasses.asdict(ours))
                wanted.measured.write_text(text)
            rows.add("rate of a registry : --rate, off by", *_rate(work))
            for name, command in _DEATHS:
                row = f"{name}: seconds until named"
                rows.add(row, *_death(work, command))
        if wanted.part != "preload":
            _compare(work, found, groups, ours, rows)
    return int(not rows.is_met)


def _request(
    nodes: Nodes,
    host: str,
    found: images.ImageSet,
    sites: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> PreloadRequest:
    """All images of a registry for all nodes.

    :param sites: the registries of groups of nodes.
    """
    names = [
        Reference.parse(f"{host}/{image.repository}:current")
        for image in found.images
    ]
    return PreloadRequest(
        inventories=[str(nodes.inventory)],
        lists={"all": names},
        others=(),
        sites={name: Location.parse(place) for name, place in sites.items()},
        **options,
    )


def _measure(
    work: pathlib.Path,
    found: images.ImageSet,
    groups: Mapping[str, Sequence[str]],
    rows: Rows,
) -> Measured:
    """Preload the nodes, and others for the figures of the simulation."""
    count, number = sum(map(len, groups.values())), len(found.images)
    with (
        site.filled(work / "source", found) as source,
        servers.docker_registry(work / "one", access_log=True) as one,
        servers.docker_registry(work / "two", access_log=True) as two,
    ):
        sizes = {
            blob.descriptor.digest: blob.descriptor.size
            for image in found.images
            for blob in image.blobs
        }
        before = len(source.blob_requests())

        def run(
            nodes: Nodes, on_node: Callable[[NodeRow], object] = _ignore
        ) -> PreloadResult:
            sites = {"one": one.host, "two": two.host}
            request = _request(
                *(nodes, source.host, found, sites), nodes_per_registry=_WINDOW
            )
            result = Preloading().preload(request, on_node=on_node)
            bad = [r for r in result.nodes if r.state not in _GOOD]
            if bad:
                raise site.NotMeasured(str(bad[0]))
            return result

        # For the figures of the simulation: one node of each registry alone,
        # looked at again, and then two. The first one fills the registries,
        # as those of the play are filled.
        alone = {"one": ["x"], "two": ["y"]}
        with inventory_nodes.nodes(work / "alone", alone) as nodes:
            single = run(nodes)
            idle = run(nodes)
        pairs = {"one": ["p", "q"], "two": ["r", "s"]}
        with inventory_nodes.nodes(work / "pairs", pairs) as nodes:
            double = run(nodes)
        with inventory_nodes.nodes(work / "nodes", groups) as nodes:
            with _Connections(one.host, two.host) as connections:
                # Those of the copy that fills the registries end before the
                # first node is told of.
                fills: list[int] = []

                def begin(row: NodeRow) -> None:
                    if not fills:
                        fills.append(connections.take())

                result, seconds, processor = _take(lambda: run(nodes, begin))
                most = connections.take()
            print(f"connections of the copy that fills the sites: {fills[0]}")
            print(f"preload {seconds:.1f} s, processor {processor:.1f} s")
            asked = collections.Counter(source.blob_requests()[before:])
            rows.add(
                "bytes of the source : unique bytes",
                sum(sizes[d] * n for d, n in asked.items())
                / sum(sizes.values()),
                1.0,
            )
            sent = sum(
                sizes.get(line.split()[1].rpartition("/")[2], 0)
                for registry in (one, two)
                for line in registry.requests(r"^GET \S+/blobs/sha256:")
            )
            lacked = sum(
                row.missing
                for one in (result, single, double)
                for row in one.nodes
            )
            rows.add(
                "bytes of the sites : what nodes lacked", sent / lacked, 1.02
            )
            rows.add(
                "connections of nodes at a registry",
                most,
                _WINDOW * _CONNECTIONS,
            )
            seen = [len(r.requests(r"/blobs/")) for r in (one, two)]
            _, again, again_processor = _take(lambda: run(nodes))
            rows.add("nothing to do: seconds a node", again / count, 0.4)
            print(f"processor for that {again_processor / count:.3f} s a node")
            more = [len(r.requests(r"/blobs/")) for r in (one, two)]
            rows.add("nothing to do: blob requests", sum(more) - sum(seen), 0)
        figures = _figures(single, double, idle, number)
        rows.add("simulation : nodes", *_simulated(figures, result, number))
    return Measured(count, number, seconds, processor)


def _compare(
    work: pathlib.Path,
    found: images.ImageSet,
    groups: Mapping[str, Sequence[str]],
    ours: Measured,
    rows: Rows,
) -> None:
    """Have a play bring the same images to other nodes."""
    with (
        site.filled(work / "play-one", found) as one,
        site.filled(work / "play-two", found) as two,
        inventory_nodes.nodes(work / "play", groups) as nodes,
    ):
        playbook = _playbook(work, one.host, two.host, found)
        _, seconds, processor = _take(lambda: _play(nodes, playbook))
        processor -= _of_podman(work)
    print(f"play {seconds:.1f} s, processor {processor:.1f} s")
    rows.add(
        "processor of the controller : play", ours.processor / processor, 0.08
    )
    rows.add("time : play", ours.seconds / seconds, 0.5)


class _Connections:
    """Counts the connections of registries; use it as a context manager."""

    def __init__(self, *hosts: str) -> None:
        ports = [host.rpartition(":")[2] for host in hosts]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.connections", *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()

    def take(self) -> int:
        """The most that a registry had at once since the last call."""
        reader, writer = self._process.stdout, self._process.stdin
        assert reader
        assert writer
        writer.write("\n")
        writer.flush()
        counts: dict[str, int] = json.loads(reader.readline())
        return max(counts.values())


def _ignore(row: NodeRow) -> None:
    """Ignore a row."""


_GOOD = (NodeState.DONE, NodeState.PRESENT)


def _take(
    work: Callable[[], PreloadResult | None],
) -> tuple[PreloadResult, float, float]:
    """The result, its seconds, and those of the controller's processor.

    Programs on nodes are no children of this process.
    """

    def used() -> float:
        usages = [
            resource.getrusage(who)
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before, began = used(), time.monotonic()
    result = work()
    seconds = time.monotonic() - began
    empty = PreloadResult([], [], 0, 0.0)
    return result or empty, seconds, used() - before


_TIMED = """\
#!/bin/bash
TIMEFORMAT='%U %S'
{{ time {podman} "$@" 2>&3; }} 3>&2 2>>{log}
"""


def _playbook(
    work: pathlib.Path, one: str, two: str, found: images.ImageSet
) -> pathlib.Path:
    """A play that has one task for each image, as other tools do."""
    wrapper = work / "bin" / "podman"
    wrapper.parent.mkdir()
    podman = shutil.which("podman")
    wrapper.write_text(_TIMED.format(podman=podman, log=work / "times"))
    wrapper.chmod(0o755)
    registries = work / "registries.conf"
    registries.write_text(
        "".join(
            f'[[registry]]\nlocation = "{host}"\ninsecure = true\n'
            for host in (one, two)
        )
    )
    environment = (
        "{{ image_prepare_environment | combine({"
        f"'CONTAINERS_REGISTRIES_CONF': '{registries}',"
        f"'PATH': '{wrapper.parent}:{os.environ['PATH']}'}}) }}}}"
    )
    tasks = [
        {
            "name": f"pull {image.repository}",
            "ansible.builtin.command": "podman pull --quiet"
            f" {{{{ ('one' in group_names) | ternary('{one}', '{two}') }}}}"
            f"/{image.repository}:current",
        }
        for image in found.images
    ]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "environment": environment,
        "tasks": tasks,
    }
    path = work / "play.yaml"
    path.write_text(yaml.safe_dump([play], width=10**6))
    return path


def _play(nodes: Nodes, playbook: pathlib.Path) -> None:
    program = pathlib.Path(sys.executable).parent / "ansible-playbook"
    process = subprocess.run(
        [
            *(program, "-i", nodes.inventory, "--forks", str(2 * _WINDOW)),
            playbook,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise site.NotMeasured(process.stdout[-2000:])


def _of_podman(work: pathlib.Path) -> float:
    """Seconds of processor of podman on the nodes of the play."""
    text = (work / "times").read_text()
    return sum(float(word) for word in text.split())


_AWAY = "registry.test:5000"
_SIZE, _RATE = 24_000_000, 4 * 1024 * 1024


def _rate(work: pathlib.Path) -> tuple[float, float]:
    """How far the bytes that a registry sends are from the rate.

    It is the slope between a tenth and nine tenths of the bytes, as a proxy
    before the registry sees them: two nodes pull at once.
    """
    found = site.one_layer(_SIZE)
    with (
        site.filled(work / "large", found) as source,
        proxy.Proxy({_AWAY: source.host}) as counting,
        inventory_nodes.nodes(work / "rate", {"rack": ["r1", "r2"]}) as nodes,
    ):
        variables = {"HTTP_PROXY": f"http://{counting.host}", "NO_PROXY": ""}
        before = {name: os.environ.get(name) for name in variables}
        os.environ |= variables
        try:
            result = Preloading(
                RegistryOptions(insecure_registries=(_AWAY,))
            ).preload(_request(nodes, _AWAY, found, rate=_RATE))
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
        if result.failed:
            raise site.NotMeasured(str(result.failed[0]))
        total = sum(size for _, size in counting.sent)
        points = []
        come = 0
        for moment, size in sorted(counting.sent):
            come += size
            if total / 10 <= come <= total * 9 / 10:
                points.append((moment, come))
        (start, first), (end, last) = points[0], points[-1]
        measured = (last - first) / (end - start)
    print(f"rate {measured / 1024 / 1024:.2f} MiB/s")
    return abs(measured / _RATE - 1), 0.05


#: The faults that begin when the first node pulls.
_DEATHS = (
    ("a registry that is killed", "kill -KILL {registry}"),
    ("a program that is killed", inventory_nodes.KILL),
    ("a node that hangs", "touch {gone}; sleep 300"),
)


def _death(work: pathlib.Path, command: str) -> tuple[float, float]:
    """Seconds between a death and its name, beside a node that lives."""
    directory = work / f"death-{len(list(work.iterdir()))}"
    found = site.overcloud(8, 1_000_000)
    groups = {"one": ["d1"], "two": ["d2"]}
    named: list[float] = []
    with (
        site.filled(work / "deaths", found) as source,
        servers.docker_registry(directory / "one") as one,
        servers.docker_registry(directory / "two") as two,
        inventory_nodes.nodes(directory / "nodes", groups) as nodes,
    ):
        gone = nodes.by_ssh("d1")
        words = command.format(registry=one.process, gone=gone)
        moment = directory / "moment"
        nodes.once("d1", f"date +%s.%N > {moment}; {words}")

        def note(row: NodeRow) -> None:
            if row.host == "d1" and row.error:
                named.append(time.time())

        sites = {"one": one.host, "two": two.host}
        result = Preloading().preload(
            _request(nodes, source.host, found, sites), on_node=note
        )
        died = float(moment.read_text())
    states = {row.host: row.state for row in result.nodes}
    if not named or states["d2"] is not NodeState.DONE:
        raise site.NotMeasured(str(result.nodes))
    (error,) = (row.error for row in result.nodes if row.host == "d1")
    print(error)
    return named[0] - died, 60.0


def _figures(
    single: PreloadResult,
    double: PreloadResult,
    idle: PreloadResult,
    images: int,
) -> Figures:
    """The figures of this machine, which all nodes share.

    :param single: two nodes at once.
    :param double: four nodes at once.
    :param idle: two nodes that lack nothing.
    """
    fixed = _seconds(idle)
    alone, more = _seconds(single) - fixed, _seconds(double) - fixed
    # As many work at full speed as one more does not slow down.
    together = max(2.0, 4 * alone / more)
    figures = Figures(
        image=alone / images,
        begin=0.0,
        setup=2 * fixed,
        start=0.0,
        node_rate=1e12,
        together=together,
    )
    print(
        f"{fixed:.1f} s before the first image, {figures.image:.2f} s an"
        f" image, {together:.1f} nodes at full speed"
    )
    return figures


def _seconds(result: PreloadResult) -> float:
    """When the last node was done."""
    return max(row.seconds for row in result.nodes)


def _simulated(
    figures: Figures, result: PreloadResult, images: int
) -> tuple[float, float]:
    """How far the simulation is from the nodes, and how far it may be."""
    sites = [
        SimulatedSite(
            fill=0,
            nodes=[
                (row.missing, images)
                for row in result.nodes
                if row.registry == registry
            ],
        )
        for registry in dict.fromkeys(row.registry for row in result.nodes)
    ]
    expected = simulate(sites, _WINDOW, figures).pulling
    actual = _seconds(result)
    print(f"simulation {expected:.1f} s, nodes {actual:.1f} s")
    return abs(expected / actual - 1), 0.2


if __name__ == "__main__":
    sys.exit(main())
