"""Having nodes pull what they need, a window of them for each registry."""

from __future__ import annotations

import base64
import collections
import dataclasses
import importlib.resources
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imageprep_client import ansible
from imageprep_client.ansible import HostJob, HostState, JobObserver, JobResult
from imageprep_client.preload.demand import NodeDemand, NodeImage
from imageprep_client.preload.request import (
    NodeRow,
    NodeState,
    OnNode,
    PreloadRequest,
    PreloadStores,
)

_IN_PLACE = ("present", "tagged", "pulled")
_STATES = {
    HostState.OK: NodeState.DONE,
    HostState.FAILED: NodeState.FAILED,
    HostState.UNREACHABLE: NodeState.UNREACHABLE,
    HostState.UNFINISHED: NodeState.FAILED,
}
_FAILED = (NodeState.FAILED, NodeState.UNREACHABLE)
#: Characters of what a node says about an image, and the largest number that
#: it may give.
_REASON, _MOST = 1000, 1 << 62
#: The answer of a node to a look.
_NUMBERS = ("lacking", "untagged", "missing", "free")
#: Seconds that a look at a storage may take before it is asked for again.
_LOOK = 20.0


def run(
    request: PreloadRequest,
    nodes: Sequence[NodeDemand],
    images: Mapping[str, NodeImage],
    stores: PreloadStores,
    session: ansible.Session,
    *,
    on_node: OnNode,
    only_look: bool,
) -> list[NodeRow]:
    """Have the nodes pull, or only look at what they lack.

    All of them are looked at first; credentials reach only those that lack
    an image.
    """
    jobs = _Jobs(request, images, stores, session)
    progress = _Progress(nodes, images, on_node, only_look=only_look)
    jobs.run(nodes, progress, only_look=True)
    lacking = [node for node in nodes if node.host in progress.lacking]
    if lacking and not only_look:
        progress.pulls(jobs.shares(lacking))
        jobs.run(lacking, progress, only_look=False)
    return [progress.rows[node.host] for node in nodes]


class _Shares:
    """Divides the rate of a registry among the nodes that pull from it.

    :param lanes: of the nodes that are to pull.
    """

    def __init__(self, request: PreloadRequest, lanes: Iterable[str]) -> None:
        self._rate = request.rate
        self._window = request.nodes_per_registry
        self._left = collections.Counter(lanes)

    def ended(self, lane: str) -> None:
        """A node does not pull any more."""
        self._left[lane] -= 1

    def of(self, lane: str) -> int:
        """Bytes a second for each node of a registry; 0: any."""
        return self._rate // max(1, min(self._window, self._left[lane]))


class _Jobs:
    """Runs the program of nodes with their jobs."""

    def __init__(
        self,
        request: PreloadRequest,
        images: Mapping[str, NodeImage],
        stores: PreloadStores,
        session: ansible.Session,
    ) -> None:
        self._request = request
        self._images = images
        self._stores = stores
        self._session = session
        self._modules = {
            file.name: file.read_text("utf-8")
            for file in (
                importlib.resources.files(__package__) / "node"
            ).iterdir()
            if file.name.endswith(".py")
        }
        self._program = self._modules.pop("program.py")

    def run(
        self,
        nodes: Sequence[NodeDemand],
        observer: JobObserver,
        *,
        only_look: bool,
    ) -> None:
        """Have some nodes do their jobs."""
        window = self._request.nodes_per_registry
        shares = self.shares(nodes)
        ansible.run_jobs(
            [
                self._job(
                    node, shares.of(self._lane(node)), only_look=only_look
                )
                for node in nodes
            ],
            self._program,
            self._session,
            window=len(nodes) if only_look else window,
            observer=observer,
            grace=_LOOK if only_look else ansible.GRACE,
            modules=self._modules,
        )

    def shares(self, nodes: Iterable[NodeDemand]) -> _Shares:
        """The shares of nodes before one of them has ended."""
        return _Shares(self._request, map(self._lane, nodes))

    def _registries(self, node: NodeDemand) -> list[str]:
        """The registries that a node pulls from."""
        if node.site:
            return [node.site.registry]
        return sorted(
            {
                self._images[str(one)].reference.registry
                for one in node.images
                if str(one) in self._images
            }
        )

    def _lane(self, node: NodeDemand) -> str:
        registries = self._registries(node)
        return registries[0] if len(registries) == 1 else ""

    def _job(self, node: NodeDemand, rate: int, *, only_look: bool) -> HostJob:
        images = [
            self._images[str(one)]
            for one in node.images
            if str(one) in self._images
        ]
        files = {}
        if not only_look:
            origins = sorted({image.reference.registry for image in images})
            files = {
                "registries.conf": self._registries_conf(node, origins),
                "auth.json": self._logins(self._registries(node)),
                "ca.crt": self._stores.certificates,
            }
        document = {
            "images": [
                {
                    "name": image.name,
                    "pull": str(image.pinned),
                    "id": image.identifier,
                    "digest": image.descriptor.digest,
                    "blobs": [[b.digest, b.size] for b in image.blobs],
                }
                for image in images
            ],
            "files": files,
            "registry": self._lane(node),
            "timeout": self._request.timeout,
            "rate": rate,
            "only_look": only_look,
        }
        return HostJob(
            host=node.host,
            lane=self._lane(node),
            document=document,
            is_secret=bool(files.get("auth.json")),
        )

    def _registries_conf(
        self, node: NodeDemand, origins: Sequence[str]
    ) -> str:
        """A registries.conf by which the names lead to the site.

        Where it has no entry the file of the node counts.
        """
        places = {
            origin: str(node.site) if node.site else origin
            for origin in origins
        }
        hosts = {place.partition("/")[0] for place in places.values()}
        insecure = self._stores.insecure(hosts)
        if not node.site and not insecure:
            return ""
        lines = ["unqualified-search-registries = []"]
        for origin, place in places.items():
            is_insecure = place.partition("/")[0] in insecure
            lines += [
                "[[registry]]",
                f'prefix = "{origin}"',
                f'location = "{place}"',
                f"insecure = {str(is_insecure).lower()}",
            ]
        return "\n".join(lines) + "\n"

    def _logins(self, registries: Sequence[str]) -> str:
        """Credentials in the format of podman; empty when there are none."""
        logins = {
            registry: self._stores.login(registry) for registry in registries
        }
        known = {
            registry: {
                "auth": base64.b64encode(":".join(login).encode()).decode(
                    "ascii"
                )
            }
            for registry, login in logins.items()
            if login
        }
        return json.dumps({"auths": known}) if known else ""


class _Progress(JobObserver):
    """Makes a row of what the program on each node says.

    A node may say anything: what makes no sense is left out.

    :ivar rows: by host.
    :ivar lacking: the hosts that lack an image, or a name for it.
    """

    def __init__(
        self,
        nodes: Sequence[NodeDemand],
        images: Mapping[str, NodeImage],
        on_node: OnNode,
        *,
        only_look: bool,
    ) -> None:
        self._on_node = on_node
        self._only_look = only_look
        self._shares: _Shares | None = None
        self._began = time.monotonic()
        self._needed = {
            node.host: {
                images[name].name
                for name in map(str, node.images)
                if name in images
            }
            for node in nodes
        }
        self._placed = {node.host: set[str]() for node in nodes}
        self._looked: set[str] = set()
        self.lacking: set[str] = set()
        self.rows = {
            node.host: NodeRow(
                host=node.host,
                registry=str(node.site or ""),
                state=NodeState.LEFT,
                images=len(node.images),
            )
            for node in nodes
        }

    @property
    def _looks(self) -> bool:
        """Whether nothing is pulled yet."""
        return self._shares is None

    def pulls(self, shares: _Shares) -> None:
        """Pulling begins."""
        self._shares = shares

    def started(self, job: HostJob) -> None:
        if not self._looks:
            row = self.rows[job.host]
            self._set(dataclasses.replace(row, state=NodeState.PULLING))

    def word(self, job: HostJob) -> str:
        rate = self._shares.of(job.lane) if self._shares else 0
        return str(rate) if rate else ""

    def left(self, job: HostJob, age: float) -> float:
        placed = len(self._placed[job.host])
        lacking = len(self._needed[job.host]) - placed
        # Before its first image it may take as long again.
        left = age * lacking / placed if placed else age
        return max(left, super().left(job, age))

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        row = self.rows[job.host]
        if self._looks:
            numbers = [line.get(key) for key in _NUMBERS]
            if not all(map(_is_number, numbers)):
                return
            lacking, untagged, missing, free = (int(n or 0) for n in numbers)
            self._looked.add(job.host)
            if lacking + untagged:
                self.lacking.add(job.host)
            there = max(0, len(self._needed[job.host]) - lacking - untagged)
            row = dataclasses.replace(
                row, missing=missing, free=free, in_place=there
            )
        else:
            name, outcome = str(line.get("image")), str(line.get("outcome"))
            placed = self._placed[job.host]
            if name not in self._needed[job.host]:
                if "lacking" in line:
                    # The images that are there are told one by one.
                    row = dataclasses.replace(row, in_place=0)
                    self._set(row)
                return
            if outcome in _IN_PLACE:
                placed.add(name)
                row = dataclasses.replace(row, in_place=len(placed))
            else:
                placed.discard(name)
                reason = str(line.get("error") or "left, as others failed")
                failures = {**row.failures, name: reason[:_REASON]}
                row = dataclasses.replace(
                    row, failures=failures, in_place=len(placed)
                )
        self._set(row)

    def ended(self, job: HostJob, result: JobResult) -> None:
        if self._shares:
            self._shares.ended(job.lane)
        row = self.rows[job.host]
        state, error = _STATES[result.state], result.reason
        if row.failures:
            error = next(iter(row.failures.values()))
        if self._looks:
            if state is NodeState.DONE and job.host not in self._looked:
                state = NodeState.FAILED
                error = "the node does not say what it lacks"
            if state in _FAILED:
                self.lacking.discard(job.host)
            elif job.host not in self.lacking:
                state = NodeState.PRESENT
            elif self._only_look:
                state = NodeState.PLANNED
            else:
                return
        elif state is NodeState.DONE:
            silent = self._needed[job.host] - self._placed[job.host]
            if silent:
                state = NodeState.FAILED
                told = f"{min(silent)}: the node says nothing about it"
                error = error or told
        self._set(
            dataclasses.replace(
                row,
                state=state,
                error=error if state in _FAILED else "",
                seconds=round(time.monotonic() - self._began, 3),
            )
        )

    def _set(self, row: NodeRow) -> None:
        self.rows[row.host] = row
        self._on_node(row)


def _is_number(value: Any) -> bool:
    """Whether a value is a count or a size."""
    # True is a number, too.
    return type(value) is int and 0 <= value <= _MOST
