"""The outcomes of the containers of a deployment, and of its hosts."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from imageprep_client.ansible import HostState, JobResult
from imageprep_client.machine.deployment.containers import DeployedContainer


class RowState(enum.StrEnum):
    """The outcome of a container, or of the cache of a host."""

    EXPORTED = "exported"
    REPLACED = "replaced"
    #: The cache has the base image now.
    FILLED = "filled"
    #: Its image is where it has to be.
    PRESENT = "present"
    #: The image of its service is exported from another container, or not.
    LEFT = "left"
    FAILED = "failed"
    UNREACHABLE = "unreachable"

    @classmethod
    def failed(cls, *, is_unreachable: bool) -> Self:
        """The state of what failed."""
        return cls.UNREACHABLE if is_unreachable else cls.FAILED

    @property
    def is_failed(self) -> bool:
        """Whether something is not as it has to be."""
        return self in (RowState.FAILED, RowState.UNREACHABLE)


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerRow:
    """One container.

    :ivar image: its name.
    :ivar digest: of the image, where it is known.
    :ivar detail: why it failed, or was left alone.
    """

    name: str
    host: str
    service: str
    image: str
    state: RowState = RowState.LEFT
    digest: str = ""
    detail: str = ""


#: Is told each row as soon as it is known.
OnRow = Callable[[ContainerRow], object]


class ContainerRows:
    """The rows of all containers.

    :param images: of containers; those of `failures` may have none.
    :param failures: of hosts.
    :ivar by_name: the rows.
    """

    def __init__(
        self,
        containers: Iterable[DeployedContainer],
        images: Mapping[str, str],
        failures: Mapping[str, JobResult],
        on_row: OnRow,
    ) -> None:
        self.by_name = {
            one.name: ContainerRow(
                one.name, one.host, one.service, images.get(one.name, "")
            )
            for one in containers
        }
        self._on_row = on_row
        for name, row in self.by_name.items():
            if failure := failures.get(row.host):
                unreachable = failure.state is HostState.UNREACHABLE
                self.fail(name, failure.reason, is_unreachable=unreachable)

    def set(
        self,
        name: str,
        state: RowState,
        *,
        digest: str = "",
        detail: str = "",
    ) -> None:
        """Note the outcome of a container."""
        self.by_name[name] = dataclasses.replace(
            self.by_name[name], state=state, digest=digest, detail=detail
        )
        self._on_row(self.by_name[name])

    def fail(self, name: str, reason: str, *, is_unreachable: bool) -> None:
        """Note why a container failed."""
        state = RowState.failed(is_unreachable=is_unreachable)
        self.set(name, state, detail=reason.removeprefix(f"{name}: "))


@dataclasses.dataclass(frozen=True, slots=True)
class CacheRow:
    """The cache of one host.

    :ivar image: the name of the base image.
    :ivar path: the directory in the cache.
    :ivar detail: why it failed.
    """

    host: str
    image: str
    state: RowState
    digest: str = ""
    path: str = ""
    detail: str = ""

    @classmethod
    def failed(
        cls, host: str, image: str, reason: str, is_unreachable: bool
    ) -> CacheRow:
        """The row of a host that does not have the image."""
        state = RowState.failed(is_unreachable=is_unreachable)
        return cls(host, image, state, detail=reason)


#: Is told each row as soon as it is known.
OnCacheRow = Callable[[CacheRow], object]
