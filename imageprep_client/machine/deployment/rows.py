"""The outcomes of the containers of a deployment, and of its hosts."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping

from imageprep_client.ansible import HostState, JobResult


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

    @property
    def is_failed(self) -> bool:
        """Whether something is not as it has to be."""
        return self in (RowState.FAILED, RowState.UNREACHABLE)


@dataclasses.dataclass(frozen=True, slots=True)
class MachineRow:
    """One container of a deployment, or the cache of one host.

    :ivar image: its name.
    :ivar name: of the container; empty for a cache, as is the service.
    :ivar digest: of the image, where it is known.
    :ivar path: the directory in the cache.
    :ivar detail: why it failed, or was left alone.
    :ivar asked: whether its host was to change it.
    """

    host: str
    image: str
    name: str = ""
    service: str = ""
    state: RowState = RowState.LEFT
    digest: str = ""
    path: str = ""
    detail: str = ""
    asked: bool = True

    @property
    def key(self) -> str:
        """The name of the container, or of the host."""
        return self.name or self.host


#: Is told each row as soon as it is known.
OnRow = Callable[[MachineRow], object]


class MachineRows:
    """The rows of all containers, or of all hosts.

    :param failures: of hosts that are not asked.
    :ivar by_key: the rows.
    """

    def __init__(
        self,
        rows: Iterable[MachineRow],
        failures: Mapping[str, JobResult],
        on_row: OnRow,
    ) -> None:
        self.by_key = {row.key: row for row in rows}
        self._on_row = on_row
        for key, row in list(self.by_key.items()):
            if failure := failures.get(row.host):
                unreachable = failure.state is HostState.UNREACHABLE
                self.by_key[key] = dataclasses.replace(row, asked=False)
                self.fail(key, failure.reason, is_unreachable=unreachable)

    def set(
        self,
        key: str,
        state: RowState,
        *,
        digest: str = "",
        path: str = "",
        detail: str = "",
    ) -> None:
        """Note an outcome."""
        self.by_key[key] = dataclasses.replace(
            self.by_key[key],
            state=state,
            digest=digest,
            path=path,
            detail=detail,
        )
        self._on_row(self.by_key[key])

    def fail(self, key: str, reason: str, *, is_unreachable: bool) -> None:
        """Note why something failed."""
        state = RowState.UNREACHABLE if is_unreachable else RowState.FAILED
        self.set(key, state, detail=reason.removeprefix(f"{key}: "))
