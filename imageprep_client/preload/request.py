"""The request of a preload, and the rows of its result."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.preload.simulation import Simulation
from imageprep_client.stores import base
from imageprep_client.transfer.admission import Admits

#: Nodes that pull from one registry at the same time: these fill its link.
NODES_PER_REGISTRY = 8
#: Seconds that an image may take.
TIMEOUT = 1800


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreloadRequest:
    """One preload of an inventory.

    :ivar inventories: paths; what a later one says counts.
    :ivar hosts: a host pattern; None: all hosts.
    :ivar lists: the images of groups of the inventory. A host in several of
        these groups needs the images of all of them; one in none needs every
        image.
    :ivar others: the images of hosts that are in none of the groups.
    :ivar sites: the registry that the nodes of a group pull from.
    :ivar nodes_per_registry: nodes at once, at most.
    :ivar rate: bytes a second that the nodes of a registry take together, at
        most; 0: any.
    :ivar timeout: seconds for one image.
    """

    inventories: Sequence[str]
    hosts: str | None = None
    lists: Mapping[str, Sequence[Reference]]
    others: Sequence[Reference]
    sites: Mapping[str, Location] = dataclasses.field(default_factory=dict)
    nodes_per_registry: int = NODES_PER_REGISTRY
    rate: int = 0
    timeout: int = TIMEOUT
    concurrency: int = 0


class NodeState(enum.StrEnum):
    """The outcome of a node."""

    DONE = "done"
    PRESENT = "present"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    #: Its program pulls.
    PULLING = "pulling"
    #: A plan: it would be filled.
    PLANNED = "planned"
    #: Its site could not be filled.
    LEFT = "left"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One node.

    :ivar registry: where it pulls from; empty: the registries in the names.
    :ivar images: how many it needs.
    :ivar in_place: how many of them it has now; None if it did not tell.
    :ivar missing: bytes that it lacked; None if it did not tell.
    :ivar free: bytes of its disk; 0 where that does not matter.
    :ivar failures: the reason for each image that failed.
    :ivar error: why the node failed, or empty.
    """

    host: str
    registry: str
    state: NodeState
    images: int
    in_place: int | None = None
    missing: int | None = None
    free: int = 0
    seconds: float = 0.0
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One site.

    :ivar nodes: how many pull from it.
    :ivar copied: bytes that were, or would be, copied to it.
    :ivar kept: bytes that it had before.
    :ivar failures: the reason for each image that it lacks.
    """

    registry: str
    nodes: int
    images: int
    copied: int = 0
    kept: int = 0
    seconds: float = 0.0
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class PreloadResult:
    """The result of a preload or a plan.

    :ivar source_bytes: of all images, each blob once.
    :ivar seconds: that it took.
    :ivar estimate: of what a plan would take; None: it is no plan.
    """

    nodes: Sequence[NodeRow]
    sites: Sequence[SiteRow]
    source_bytes: int
    seconds: float
    estimate: Simulation | None = None

    @property
    def failed(self) -> list[NodeRow]:
        """The nodes that lack an image."""
        done = (NodeState.DONE, NodeState.PRESENT, NodeState.PLANNED)
        return [row for row in self.nodes if row.state not in done]


class PreloadStores(Protocol):
    """Opens stores, and knows what nodes need to reach registries."""

    def source(self, reference: Reference) -> base.ReadableStore:
        """The repository that an image is pulled from."""
        ...

    def admission(self, reference: Reference) -> Admits | None:
        """The check whether an image may be copied; None: it may."""
        ...

    def further(self, place: str, repository: str) -> base.Store:
        """The repository of a site.

        :raises StoreError: when it cannot be written to.
        """
        ...

    def insecure(self, registries: Iterable[str]) -> frozenset[str]:
        """Those that nodes have to use without verification."""
        ...

    def login(self, registry: str) -> tuple[str, str] | None:
        """User and password for a registry; None: there are none."""
        ...

    @property
    def certificates(self) -> str:
        """Authorities that nodes have to trust, in PEM; may be empty."""
        ...

    def release(self) -> None:
        """Close the connections to registries that are idle."""
        ...


#: Is told each row as soon as it is known.
OnNode = Callable[[NodeRow], object]
