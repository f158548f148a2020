"""Service containers as they are declared."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.service.declaration.options import OptionValue

_NAMESPACES = ("network", "pid", "ipc", "uts", "cgroupns")
_SHARED = re.compile(r"(?:--[a-z]+=)?container:(?P<name>[^:]+)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """How to find out whether something answers; one of the three ways.

    :ivar tcp: an address with a port that accepts connections.
    :ivar http: a URL that answers with a status below 400.
    :ivar command: a command that ends with status 0: of the host before a
        start, in the container after it.
    :ivar interval: seconds between two attempts.
    :ivar retries: failures in a row that are final; 0 for no such limit.
    :ivar start_period: seconds during which failures do not count.
    """

    tcp: str = ""
    http: str = ""
    command: tuple[str, ...] = ()
    interval: float = 1.0
    retries: int = 0
    start_period: float = 0.0

    def __str__(self) -> str:
        if self.tcp:
            return f"tcp {self.tcp}"
        return f"http {self.http}" if self.http else "command"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HostRequirements:
    """Conditions of the host for the change of a service.

    :ivar modules: kernel modules that must be there.
    :ivar inactive_units: units of systemd that must not run.
    :ivar ports: TCP ports on which nothing else may listen.
    """

    modules: tuple[str, ...] = ()
    inactive_units: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One container of a declaration.

    :ivar name: of the service and of its container.
    :ivar image: a reference, or empty.
    :ivar parameter: the heat parameter whose value is the image, or empty.
    :ivar command: the words after the image.
    :ivar options: values of `options.OPTIONS`, by key.
    :ivar environment: variables with their values.
    :ivar env_from: variables, with heat parameters that have the values.
    :ivar env_file: files with variables, as podman reads them.
    :ivar depends_on: services that are started before this one.
    :ivar survivors: names of processes that must outlive the container.
    :ivar wait_for: must be healthy before a start; None for nothing.
    :ivar health: must be healthy after it; None: the process has to run.
    :ivar podman_args: further words of the command line, verbatim.
    """

    name: str
    image: str = ""
    parameter: str = ""
    command: tuple[str, ...] = ()
    options: Mapping[str, OptionValue] = dataclasses.field(
        default_factory=dict
    )
    environment: Mapping[str, str] = dataclasses.field(
        default_factory=dict, repr=False
    )
    env_from: Mapping[str, str] = dataclasses.field(default_factory=dict)
    env_file: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    survivors: tuple[str, ...] = ()
    preflight: HostRequirements = HostRequirements()
    wait_for: Probe | None = None
    health: Probe | None = None
    podman_args: tuple[str, ...] = ()

    @property
    def shares(self) -> frozenset[str]:
        """The containers whose namespaces it has.

        podman removes none of them while this container is there.
        """
        words = list(self.podman_args)
        for key in _NAMESPACES:
            value = self.options.get(key, ())
            words += value if isinstance(value, tuple) else [str(value)]
        matches = map(_SHARED.fullmatch, words)
        return frozenset(match["name"] for match in matches if match)

    @property
    def volume_origins(self) -> frozenset[str]:
        """The containers whose volumes it has."""
        volumes = self.options.get("volumes_from", ())
        origins = volumes if isinstance(volumes, tuple) else ()
        return frozenset(one.partition(":")[0] for one in origins)

    @property
    def requirements(self) -> frozenset[str]:
        """The containers that have to be there before it, by name."""
        return self.volume_origins.union(self.depends_on, self.shares)

    def text(self, key: str) -> str:
        """The value of an option that is a string; empty without it."""
        return str(self.options.get(key, ""))

    def with_options(self, **options: OptionValue) -> Service:
        """The service with these options in place of its own."""
        return dataclasses.replace(self, options={**self.options, **options})

    def same_container(self, other: Service) -> bool:
        """Whether both give one container, their environment aside."""
        return (
            self.command == other.command
            and self.podman_args == other.podman_args
            and _normal(self.options) == _normal(other.options)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class NodeDeclaration:
    """All services of a node.

    :ivar path: the file, as the user named it.
    :ivar services: by name, in the order of the file.
    :ivar text: of the file, as it was read.
    """

    path: str
    services: Mapping[str, Service]
    text: bytes = dataclasses.field(default=b"", repr=False)

    def select(self, names: Sequence[str]) -> list[Service]:
        """These services, or all, each after those that it depends on.

        :raises InvalidArgument: for a name that is not declared.
        """
        for name in names:
            if name not in self.services:
                raise errors.InvalidArgument(
                    f"{name}: not a service of {self.path}",
                    hint="declared are: " + ", ".join(self.services),
                )
        return [
            self.services[name]
            for name in self.ordered(names or self.services)
        ]

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Names, each after those that it depends on.

        Those that are not declared come last.
        """
        left = dict.fromkeys(names)
        ordered = [name for name in self._order() if name in left]
        return ordered + [name for name in left if name not in self.services]

    def requirements(self, name: str) -> frozenset[str]:
        """The services that one depends on, also by others."""
        reached: set[str] = set()
        waiting = {name}
        while waiting:
            service = self.services.get(waiting.pop())
            if service:
                waiting |= service.requirements - reached
                reached |= service.requirements
        return frozenset(reached & self.services.keys())

    def _order(self) -> list[str]:
        done: list[str] = []
        waiting = list(self.services)
        while waiting:
            ready = next(
                name
                for name in waiting
                if self.requirements(name) <= set(done)
            )
            done.append(ready)
            waiting.remove(ready)
        return done


def unordered(services: Iterable[Service]) -> list[str]:
    """The names of services that are in, or behind, a circle."""
    by_name = {one.name: one for one in services}
    left = {
        name: by_name.keys() & one.requirements
        for name, one in by_name.items()
    }
    while ready := [name for name, needed in left.items() if not needed]:
        for name in ready:
            del left[name]
        for needed in left.values():
            needed.difference_update(ready)
    return list(left)


def _normal(options: Mapping[str, OptionValue]) -> dict[str, Any]:
    """Options without those that say what is so anyway."""
    return {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in options.items()
        if value not in (False, "", (), {})
        and (key, value) != ("restart", "no")
    }
