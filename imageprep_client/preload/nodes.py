"""Having nodes pull what they need, a window of them for each registry."""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
import json
import time
from collections.abc import Mapping, Sequence
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


def run(
    request: PreloadRequest,
    nodes: Sequence[NodeDemand],
    images: Mapping[str, NodeImage],
    stores: PreloadStores,
    *,
    on_node: OnNode,
    only_look: bool,
) -> list[NodeRow]:
    """Have the nodes pull, or only look at what they lack."""
    jobs = _Documents(request, images, stores, only_look=only_look)
    progress = _Progress(nodes, on_node, only_look=only_look)
    program = importlib.resources.files(__package__) / "node" / "pull.py"
    ansible.run_jobs(
        [jobs.job(node) for node in nodes],
        program.read_text("utf-8"),
        request.inventory,
        window=len(nodes) if only_look else request.nodes_per_registry,
        observer=progress,
    )
    return [progress.rows[node.host] for node in nodes]


class _Documents:
    """The documents of jobs."""

    def __init__(
        self,
        request: PreloadRequest,
        images: Mapping[str, NodeImage],
        stores: PreloadStores,
        *,
        only_look: bool,
    ) -> None:
        self._request = request
        self._images = images
        self._stores = stores
        self._only_look = only_look

    def job(self, node: NodeDemand) -> HostJob:
        images = [
            self._images[str(one)]
            for one in node.images
            if str(one) in self._images
        ]
        origins = sorted({image.reference.registry for image in images})
        registries = [node.site.registry] if node.site else origins
        files = {
            "registries.conf": self._registries(node, origins),
            "auth.json": self._logins(registries),
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
            "files": {} if self._only_look else files,
            "timeout": self._request.timeout,
            "rate": self._request.rate // self._request.nodes_per_registry,
            "only_look": self._only_look,
        }
        return HostJob(
            host=node.host,
            lane=registries[0] if len(registries) == 1 else "",
            document=document,
            is_secret=not self._only_look and bool(files["auth.json"]),
        )

    def _registries(self, node: NodeDemand, origins: Sequence[str]) -> str:
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

    :ivar rows: by host.
    """

    def __init__(
        self, nodes: Sequence[NodeDemand], on_node: OnNode, *, only_look: bool
    ) -> None:
        self._on_node = on_node
        self._only_look = only_look
        self._began = time.monotonic()
        self._lacking: dict[str, int] = {}
        self.rows = {
            node.host: NodeRow(
                host=node.host,
                registry=str(node.site or ""),
                state=NodeState.LEFT,
                images=len(node.images),
            )
            for node in nodes
        }

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        row = self.rows[job.host]
        if "lacking" in line:
            self._lacking[job.host] = int(line["lacking"])
            row = dataclasses.replace(
                row, missing=int(line["missing"]), free=int(line["free"])
            )
            if self._only_look:
                there = row.images - int(line["lacking"])
                row = dataclasses.replace(row, in_place=there)
        elif line.get("outcome") in _IN_PLACE:
            row = dataclasses.replace(row, in_place=row.in_place + 1)
        elif "image" in line:
            reason = str(line.get("error") or "left, as others failed")
            row = dataclasses.replace(
                row,
                failures={**row.failures, str(line["image"]): reason},
            )
        self._set(row)

    def ended(self, job: HostJob, result: JobResult) -> None:
        row = self.rows[job.host]
        state, error = _STATES[result.state], result.reason
        if state is NodeState.DONE and not self._lacking.get(job.host):
            state = NodeState.PRESENT
        elif state is NodeState.DONE and self._only_look:
            state = NodeState.PLANNED
        if row.failures:
            error = next(iter(row.failures.values()))
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


_FAILED = (NodeState.FAILED, NodeState.UNREACHABLE)
