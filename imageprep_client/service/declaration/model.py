"""Service containers as they are declared."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.service.declaration.options import OptionValue


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
    """

    modules: tuple[str, ...] = ()
    inactive_units: tuple[str, ...] = ()


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
    """

    path: str
    services: Mapping[str, Service]

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
        chosen = set(names or self.services)
        return [
            self.services[name] for name in self._order() if name in chosen
        ]

    def dependants(self, names: Collection[str]) -> list[Service]:
        """The services that depend on these, also by others, in order."""
        reached = set(names)
        for name in self._order():
            if reached.intersection(self.services[name].depends_on):
                reached.add(name)
        return [
            self.services[name]
            for name in self._order()
            if name in reached.difference(names)
        ]

    def _order(self) -> list[str]:
        done: list[str] = []
        waiting = list(self.services)
        while waiting:
            ready = next(
                name
                for name in waiting
                if set(self.services[name].depends_on) <= set(done)
            )
            done.append(ready)
            waiting.remove(ready)
        return done


def unordered(services: Iterable[Service]) -> list[str]:
    """The names of services that are in, or behind, a circle."""
    left = {one.name: set(one.depends_on) for one in services}
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
