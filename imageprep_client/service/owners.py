"""The owners of containers: podman alone, or a unit of systemd.

A unit with ``Restart=always`` starts again what is stopped around it, so a
container that has a unit is only changed through the unit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from imageprep_client import errors
from imageprep_client.programs.podman import (
    ContainerImage,
    InspectedContainer,
    Podman,
)
from imageprep_client.service import holding
from imageprep_client.service.definitions import adopting
from imageprep_client.service.holding import TargetContainer
from imageprep_client.service.journal import StateDirectory


def same_target(
    container: InspectedContainer,
    image: ContainerImage | None,
    names: Mapping[str, str],
) -> TargetContainer:
    """The target that creates a container again as it is.

    :param names: of the containers whose namespaces it shares, by ID.
    """
    service = adopting.adopt(container, image, names)
    return TargetContainer(
        holding.for_again(service, container),
        container.image_id,
        container.digest,
        container.digests,
        adopting.own_environment(container, image),
        container.is_alive,
    )


class Owner:
    """Changes containers that only podman knows; others are subclasses.

    :ivar unit: the unit of systemd, or empty.
    :ivar declares_options: whether the options of its containers are written
        in a file of the owner's; then only their image is changed.
    """

    unit = ""
    declares_options = False

    def __init__(self, podman: Podman, state: StateDirectory) -> None:
        self._podman = podman
        self._state = state

    @property
    def configured(self) -> str:
        """The image that a file of the owner's has; empty for none."""
        return ""

    def configure(self, image: str) -> None:
        """Put an image into that file, if there is one.

        :param image: as `configured` gave it.
        """

    def halt(self) -> None:
        """Keep the owner from starting a container that is gone."""

    def replace(
        self, current: InspectedContainer | None, target: TargetContainer
    ) -> None:
        """Put the target in the place of a container, and start it."""
        if current:
            self.remove(current)
        self.create(target)
        if target.runs:
            self.start(target.service.name)

    def create(self, target: TargetContainer) -> None:
        """Make the target the container that is started next."""
        holding.create(
            self._podman,
            self._state,
            target.service,
            target.image,
            target.environment,
        )

    def remove(
        self, current: InspectedContainer, seconds: int | None = None
    ) -> None:
        """Stop and remove a container.

        :param seconds: between its stop signal and SIGKILL; None for its own.
        """
        if seconds is None:
            seconds = current.stop_timeout
        if not current.is_alive:
            # podman may wait for the exit status of a process whose conmon
            # was killed; afterwards it knows that the process is gone.
            self._settle(current)
        self._podman.remove(current.id, seconds=seconds)

    def _settle(self, current: InspectedContainer) -> None:
        if current.state in ("running", "stopping"):
            with contextlib.suppress(errors.LocalStorageError):
                self._podman.stop(current.id, 0)

    def start(self, name: str) -> None:
        self._podman.start(name)

    def stop(self, container: InspectedContainer) -> None:
        if container.is_alive:
            self._podman.stop(container.id, container.stop_timeout)
        else:
            self._settle(container)
