"""How long a preload takes, by figures that were measured.

The controller looks at all nodes once, and then works in cycles: it starts
nodes, as far as the windows of the registries let it, looks at those that run,
and pauses. Nodes share the link of their registry. Nothing here touches a
network or a clock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from imageprep_client import ansible

_GIGABIT = 125_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of the machines.

    :ivar source_link: bytes a second that the source sends.
    :ivar uplink: bytes a second that the controller sends to all sites.
    :ivar site_link: bytes a second that a registry sends to its nodes.
    :ivar node_rate: bytes a second that a node unpacks.
    :ivar image: seconds of a node for an image beside its bytes.
    :ivar begin: seconds of a node before its first image.
    :ivar setup: seconds of processor for the start of ansible.
    :ivar cycle: seconds of processor for a round of commands.
    :ivar start, look: seconds of processor for each node that is started, or
        looked at.
    :ivar processors: of the controller.
    :ivar together: how many nodes work at full speed at the same time, where
        they share a machine; 0: all.
    """

    source_link: float = 1 * _GIGABIT
    uplink: float = 10 * _GIGABIT
    site_link: float = 10 * _GIGABIT
    node_rate: float = 100_000_000.0
    image: float = 0.4
    begin: float = 2.0
    setup: float = 1.5
    cycle: float = 0.05
    start: float = 0.04
    look: float = 0.03
    processors: int = 2
    together: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSite:
    """A registry and its nodes.

    :ivar fill: bytes that the registry lacks.
    :ivar nodes: bytes and images that each of its nodes lacks.
    """

    fill: int
    nodes: Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The result.

    :ivar filling, pulling: seconds for the sites, and then for the nodes.
    :ivar processor: seconds of processor of the controller.
    :ivar waves: of nodes, at the registry that has most.
    :ivar cycles: of the controller.
    :ivar node_bytes: that nodes get.
    :ivar limit: what more of would help most.
    """

    filling: float
    pulling: float
    processor: float
    waves: int
    cycles: int
    node_bytes: int
    limit: str

    @property
    def seconds(self) -> float:
        """For all of it."""
        return self.filling + self.pulling


@dataclasses.dataclass(slots=True)
class _Node:
    site: int
    seconds: float
    bytes: float


def simulate(
    sites: Sequence[SimulatedSite], window: int, figures: Figures
) -> Simulation:
    """Simulate a preload.

    :param window: nodes of a registry at once, at most.
    """
    node_bytes = sum(size for site in sites for size, _ in site.nodes)
    site_bytes = sum(site.fill for site in sites)
    # Content is read once and goes to all sites while it streams.
    filling = max(
        max((site.fill for site in sites), default=0) / figures.source_link,
        site_bytes / figures.uplink,
    )
    waiting = [
        [
            _Node(number, figures.begin + images * figures.image, float(size))
            for size, images in reversed(site.nodes)
        ]
        for number, site in enumerate(sites)
    ]
    running: list[_Node] = []
    # Each node is looked at before the first one pulls.
    count = sum(map(len, waiting))
    processor = figures.setup + count * figures.start if count else 0.0
    now = processor / figures.processors
    cycles = 0
    while running or any(waiting):
        busy = [0] * len(sites)
        for node in running:
            busy[node.site] += 1
        started = 0
        for number, nodes in enumerate(waiting):
            while nodes and busy[number] < window:
                running.append(nodes.pop())
                busy[number] += 1
                started += 1
        looks = len(running) - started
        used = figures.cycle + started * figures.start + looks * figures.look
        spent = figures.cycle + (used - figures.cycle) / figures.processors
        processor += used
        cycles += 1
        left = min(_left(node, busy, figures) for node in running)
        pause = ansible.pause(figures.cycle + looks * figures.look, left)
        if any(
            nodes and busy[number] < window
            for number, nodes in enumerate(waiting)
        ):
            pause = 0.0
        running, worked = _work(running, spent + pause, figures)
        if not running and not any(waiting):
            # The last look comes after the last node.
            now += min(worked, spent + pause)
            processor += figures.cycle
            now += figures.cycle
        else:
            now += spent + pause
    most = max((len(site.nodes) for site in sites), default=0)
    return Simulation(
        filling=filling,
        pulling=now,
        processor=processor,
        waves=math.ceil(most / window),
        cycles=cycles,
        node_bytes=node_bytes,
        limit=_limit(sites, window, figures, filling, now, processor),
    )


def _left(node: _Node, busy: Sequence[int], figures: Figures) -> float:
    """Seconds until a node is done, if nothing else changes."""
    link = figures.site_link / busy[node.site]
    speed = 1.0
    if figures.together:
        speed = min(1.0, figures.together / sum(busy))
    rate = min(figures.node_rate * speed, link)
    return max(0.0, node.seconds) / speed + node.bytes / rate


def _work(
    nodes: Sequence[_Node], seconds: float, figures: Figures
) -> tuple[list[_Node], float]:
    """Let nodes work for some seconds.

    :returns: those that are not done, and when the last one was.
    """
    left = list(nodes)
    passed = 0.0
    while left and passed < seconds:
        speed = 1.0
        if figures.together:
            speed = min(1.0, figures.together / len(left))
        pulling: dict[int, int] = {}
        for node in left:
            if node.seconds <= 0:
                pulling[node.site] = pulling.get(node.site, 0) + 1
        rates = {
            site: min(figures.node_rate * speed, figures.site_link / count)
            for site, count in pulling.items()
        }
        step = seconds - passed
        for node in left:
            if node.seconds > 0:
                step = min(step, node.seconds / speed)
            else:
                step = min(step, node.bytes / rates[node.site])
        step = max(step, 1e-6)
        for node in left:
            if node.seconds > 0:
                node.seconds -= step * speed
            else:
                node.bytes -= step * rates[node.site]
        left = [n for n in left if n.seconds > 1e-9 or n.bytes > 1e-3]
        passed += step
    return left, passed


def _limit(
    sites: Sequence[SimulatedSite],
    window: int,
    figures: Figures,
    filling: float,
    pulling: float,
    processor: float,
) -> str:
    """The part that takes most of the time."""
    if filling > pulling:
        by_source = max((s.fill for s in sites), default=0)
        if by_source / figures.source_link >= filling:
            return "the link of the source"
        return "the uplink of the controller"
    link = max(
        (sum(size for size, _ in site.nodes) for site in sites), default=0
    )
    shares = {
        "the links of the sites": link / figures.site_link,
        "the processors of the controller": processor / figures.processors,
        "the nodes": max(
            (
                sum(
                    size / figures.node_rate
                    + images * figures.image
                    + figures.begin
                    for size, images in site.nodes
                )
                / min(window, max(len(site.nodes), 1))
                for site in sites
            ),
            default=0.0,
        ),
    }
    return max(shares, key=lambda name: shares[name])
