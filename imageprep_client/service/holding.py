"""Holders: containers that keep an old image and its specification.

A holder is created of the image, the specification and the environment of
the container that is replaced. It is never started and has no restart
policy. ``podman image prune`` leaves its image alone, and podman's database
keeps the environment, which is written nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping

from imageprep_client import errors
from imageprep_client.heat.value import Value
from imageprep_client.programs.podman import (
    ContainerImage,
    InspectedContainer,
    ListedContainer,
    Podman,
)
from imageprep_client.service.declaration import (
    KEPT,
    Service,
    as_data,
    service_from,
)
from imageprep_client.service.definitions import adopting, rendering
from imageprep_client.service.journal import StateDirectory

#: Words of podman for containers that a killed command left half made or
#: half removed.
HALF = ("storage", "removing")
#: The end of the names of containers that are only tried.
_TRIAL = ".trial"
_SERVICE = f"{KEPT}service"
_GENERATION = f"{KEPT}generation"
_SPECIFICATION = f"{KEPT}specification"
_NAME = re.compile(
    rf"{re.escape(KEPT)}(?P<service>.+)\.(?P<generation>\d{{1,9}})"
)
#: Values that podman reads from a file as they are, in all its versions.
_PLAIN = re.compile(r"[^\s\"'\\$#`](?:[^\n\r\"'\\$#`]*[^\s\"'\\$#`])?|")


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """The kept container of one generation of a service."""

    name: str
    service: str
    generation: int

    @classmethod
    def of(cls, name: str) -> Holder | None:
        """The holder of this name; None for other containers."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return cls(name, match["service"], int(match["generation"]))


@dataclasses.dataclass(frozen=True, slots=True)
class TargetContainer:
    """A container that is to run.

    :ivar image: as podman is to find it: pinned by digest, or an ID.
    :ivar digest: the one to name.
    :ivar digests: all that the container may show.
    :ivar environment: values beside those of the specification; in no
        command line.
    :ivar runs: whether it is to be started.
    """

    service: Service
    image: str
    digest: str
    digests: frozenset[str]
    environment: Mapping[str, str] = dataclasses.field(
        default_factory=dict, repr=False
    )
    runs: bool = True


def holder_name(service: str, generation: int) -> str:
    """The name of a holder."""
    return f"{KEPT}{service}.{generation}"


def half_holders(containers: Iterable[ListedContainer]) -> list[Holder]:
    """The holders that a killed command left half made or half removed."""
    return [
        holder
        for container in containers
        if container.state in HALF
        for name in container.names
        if (holder := Holder.of(name))
    ]


def holders(
    containers: Iterable[ListedContainer], service: str | None = None
) -> list[Holder]:
    """The holders, of one service or of all, the newest first."""
    matching = [
        holder
        for container in containers
        if container.state not in HALF
        for name in container.names
        if (holder := Holder.of(name))
        and service in (None, holder.service)
        and container.labels.get(_SERVICE) == holder.service
    ]
    return sorted(matching, key=lambda one: -one.generation)


def hold(
    podman: Podman,
    state: StateDirectory,
    container: InspectedContainer,
    name: str,
) -> None:
    """Create the holder of a container.

    :param name: see `holder_name`.
    """
    image = podman.image(container.image_id)
    names = podman.shared_names(container)
    service = for_again(adopting.adopt(container, image, names), container)
    holder = Holder.of(name)
    if holder is None:
        raise ValueError(name)
    # Without networks and mounts: nothing may depend on it, nor it on others.
    kept = Service(
        name=name,
        command=("never-started",),
        options={
            "restart": "no",
            "network": ("none",),
            "labels": {
                _SERVICE: service.name,
                _GENERATION: str(holder.generation),
                _SPECIFICATION: json.dumps(as_data(service)),
            },
        },
    )
    environment = adopting.own_environment(container, image)
    try:
        create(podman, state, kept, container.image_id, environment)
    finally:
        state.remove_environment(name)


def trial_name(service: str) -> str:
    """The name of a container that is made to see whether podman makes it."""
    return f"{KEPT}{service}{_TRIAL}"


def is_trial(container: ListedContainer) -> bool:
    """Whether a command was killed while it tried a container."""
    return any(
        name.startswith(KEPT) and name.endswith(_TRIAL)
        for name in container.names
    )


def try_out(
    podman: Podman,
    state: StateDirectory,
    service: Service,
    image: str,
    environment: Mapping[str, str],
) -> None:
    """Check that podman takes a specification; the container never starts.

    :raises LocalStorageError: when it does not.
    """
    name = trial_name(service.name)
    trial = dataclasses.replace(service, name=name).with_options(restart="no")
    try:
        podman.discard(create(podman, state, trial, image, environment))
    except errors.LocalStorageError as error:
        raise errors.LocalStorageError(
            f"{service.name}: {error}", hint=error.hint
        ) from error
    finally:
        state.remove_environment(name)


def held(
    name: str,
    container: InspectedContainer | None,
    images: Mapping[str, ContainerImage],
    *,
    runs: bool = True,
) -> TargetContainer:
    """The container that a holder has kept.

    :param container: the holder; None when it is gone.
    :param images: local images by ID, that of the holder among them.
    :raises StoreError: when it is gone or damaged.
    """
    image = images.get(container.image_id) if container else None
    if container is None or image is None:
        raise errors.NotFound(
            f"{name}: the kept container is gone",
            hint="the old image can be had by: openstack image-prepare service"
            " upgrade",
        )
    try:
        data = json.loads(container.labels[_SPECIFICATION])
        service = service_from(
            container.labels[_SERVICE], Value(data, f"container {name}")
        )
    except (KeyError, ValueError, errors.InvalidFile):
        raise errors.StoreError(
            f"{name}: the specification in its labels is damaged"
        ) from None
    return TargetContainer(
        service,
        image.id,
        container.digest,
        image.digests,
        adopting.own_environment(container, image),
        runs,
    )


def for_again(service: Service, container: InspectedContainer) -> Service:
    """A service that creates a container again, with its volumes.

    It has no variables, whose values may be secrets.
    """
    return dataclasses.replace(
        adopting.with_volumes(service, container),
        environment={},
        env_from={},
        env_file=(),
    )


def create(
    podman: Podman,
    state: StateDirectory,
    service: Service,
    image: str,
    environment: Mapping[str, str],
) -> str:
    """Create a container; `environment` is in no command line.

    podman reads it from a file of mode 0600, and what such a file cannot
    have, as values with line breaks, from its own environment; on a full disk
    all of it. The variables of the service come as they are declared.

    :returns: the ID of the container.
    """
    in_file, others = divide(environment)
    options = [f"--env-file={path}" for path in service.env_file]
    if in_file:
        try:
            path = state.write_environment(service.name, in_file)
        except errors.NoSpace:
            others = dict(environment)
        else:
            options.append(f"--env-file={path}")
    options += [f"--env={name}" for name in others]
    options += [
        f"--env={name}={value}" for name, value in service.environment.items()
    ]
    return podman.create(
        rendering.words(service, image, environment=options), others
    )


def divide(
    environment: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, str]]:
    """Variables that a file can have, and those that it cannot."""
    in_file: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in environment.items():
        (in_file if _PLAIN.fullmatch(value) else others)[name] = value
    return in_file, others
