"""Describe existing containers as services of a declaration."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.oci.reference import Reference
from imageprep_client.programs.podman import ContainerImage, InspectedContainer
from imageprep_client.service.declaration import OptionValue, Service
from imageprep_client.service.definitions import commandline, inspected

_NOTHING: Mapping[str, str] = {}
#: Variables that podman sets, with the values that are the same everywhere.
_PODMANS: Mapping[str, tuple[str, ...]] = {
    "container": ("podman", "oci"),
    "TERM": ("xterm",),
    "HOSTNAME": (),
    "HOME": ("/", "/root"),
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def adopt(
    container: InspectedContainer,
    image: ContainerImage | None,
    names: Mapping[str, str] = _NOTHING,
) -> Service:
    """Describe a container as a service.

    :param image: that of the container; None where it is unknown.
    :param names: of the containers whose namespaces it shares, by ID; a
        container that is made again has another ID.
    :raises InvalidArgument: when it cannot be made without its pod.
    """
    check_alone(container)
    if container.create_command:
        command = commandline.parse(container.create_command, container.name)
        values = container.environment
        service = dataclasses.replace(
            command.service,
            environment={
                **command.service.environment,
                **{
                    name: values[name]
                    for name in command.inherited
                    if name in values
                },
            },
        )
        named = command.image
    else:
        service = dataclasses.replace(
            inspected.parse(container, image),
            environment=own_environment(container, image),
        )
        named = container.config.get("Image") or container.image_name
    options = {
        key: _by_name(value, names) for key, value in service.options.items()
    }
    return dataclasses.replace(
        service, image=_image(named, container), options=options
    )


def check_alone(container: InspectedContainer) -> None:
    """Check that a container can be made again without others of its pod.

    :raises InvalidArgument: when it cannot.
    """
    if container.is_of_pod:
        raise errors.InvalidArgument(
            f"{container.name}: podman made it together with its pod",
            hint="change the whole pod, as with: podman kube play --replace",
        )


def with_volumes(service: Service, container: InspectedContainer) -> Service:
    """The service of a container, with the container's anonymous volumes.

    Those of a container in `volumes_from` come with that container.
    """
    if "volumes_from" in service.options:
        return service
    own = _volumes(service)
    # Versions of podman differ in whether they clean the paths.
    named = {
        os.path.normpath(volume.split(":")[1])
        for volume in own
        if ":" in volume
    }
    named |= set(_mounted(service.podman_args))
    names = {
        os.path.normpath(mount["Destination"]): mount["Name"]
        for mount in container.data.get("Mounts") or ()
        if inspected.ANONYMOUS.fullmatch(mount.get("Name") or "")
        and os.path.normpath(mount["Destination"]) not in named
    }
    volumes = []
    for volume in own:
        name = names.pop(os.path.normpath(volume), None)
        volumes.append(f"{name}:{volume}" if name else volume)
    volumes += (f"{name}:{path}" for path, name in names.items())
    return service.with_options(volumes=tuple(volumes))


def has_anonymous_volumes(container: InspectedContainer) -> bool:
    """Whether another container in its place has other volumes."""
    return any(
        inspected.ANONYMOUS.fullmatch(mount.get("Name") or "")
        for mount in container.data.get("Mounts") or ()
    )


def _mounted(words: Iterable[str]) -> Iterator[str]:
    """The paths of a container where options ``--mount`` mount something."""
    for word in words:
        option, _, value = word.partition("=")
        if option == "--mount":
            for part in value.split(","):
                key, _, path = part.partition("=")
                if key in ("target", "dst", "destination"):
                    yield os.path.normpath(path)


def same_container(declared: Service, adopted: Service) -> bool:
    """Whether both give one container, environment and volumes' names aside.

    A container that was restored names its anonymous volumes.
    """
    wanted = {
        volume if ":" in volume else os.path.normpath(volume): volume
        for volume in _volumes(declared)
    }
    volumes = []
    for volume in _volumes(adopted):
        name, _, path = volume.partition(":")
        is_anonymous = inspected.ANONYMOUS.fullmatch(name)
        if volume in wanted.values() or not is_anonymous:
            volumes.append(volume)
        elif own := wanted.get(os.path.normpath(path)):
            volumes.append(own)
        # Else the image declares it.
    return declared.same_container(
        adopted.with_options(volumes=tuple(volumes))
    )


def _volumes(service: Service) -> tuple[str, ...]:
    volumes = service.options.get("volumes", ())
    return volumes if isinstance(volumes, tuple) else ()


def _by_name(value: OptionValue, names: Mapping[str, str]) -> OptionValue:
    """An option whose value may be ``container:ID``."""
    if isinstance(value, tuple):
        return tuple(str(_by_name(one, names)) for one in value)
    if isinstance(value, str) and value.startswith("container:"):
        known = value.partition(":")[2]
        for identity, name in names.items():
            if identity.startswith(known) and known not in names.values():
                return f"container:{name}"
    return value


def own_environment(
    container: InspectedContainer, image: ContainerImage | None
) -> dict[str, str]:
    """The variables that a container was given, except those of secrets.

    :param image: that of the container: what it sets itself is left out.
    """
    hostname = str(container.config.get("Hostname") or "")
    secrets = set(commandline.secret_variables(container.create_command))
    return {
        name: value
        for name, value in visible(container.environment, image).items()
        if name not in secrets
        and (
            name not in _PODMANS or value not in (hostname, container.id[:12])
        )
    }


def _image(named: str, container: InspectedContainer) -> str:
    """A reference; containers of an ID have podman's name of the image."""
    for name in (named, container.image_name):
        try:
            Reference.parse(name)
        except errors.InvalidReference:
            continue
        if not container.image_id.startswith(name):
            return name
    return container.image_name


def declared_environment(
    service: Service, secret: Mapping[str, str]
) -> dict[str, str]:
    """The variables that a service gives its container.

    :param secret: those whose values come from parameters.
    :raises InvalidFile: when a file of the declaration cannot be read.
    """
    variables: dict[str, str] = {}
    for path in service.env_file:
        variables.update(_read(path))
    return {**variables, **secret, **service.environment}


def visible(
    variables: Mapping[str, str], image: ContainerImage | None
) -> dict[str, str]:
    """The declared variables that `own_environment` would show."""
    inherited: Mapping[str, str] = image.environment if image else {}
    return {
        name: value
        for name, value in variables.items()
        if inherited.get(name) != value
        and (name, value) != ("PATH", _PATH)
        and value not in _PODMANS.get(name, ())
    }


def _read(path: str) -> dict[str, str]:
    """The variables in a file, as podman reads it."""
    text = inputs.load(path).decode(errors="surrogateescape")
    variables = {}
    for line in text.splitlines():
        line = line.lstrip()
        name, equals, value = line.partition("=")
        if line and not line.startswith("#"):
            if equals:
                variables[name.strip()] = value
            elif name in os.environ:
                variables[name] = os.environ[name]
    return variables
