"""The program `podman`: containers and their images on this host.

A thin layer: it starts the program, turns the JSON that it prints into
values and its failures into errors. Where containers and images are kept is
podman's own configuration; the environment is passed on as it is. Others on
the host can read command lines: no secrets belong there.
"""

from imageprep_client.programs.podman.commands import (
    Podman,
    PodmanInformation,
    PullOptions,
)
from imageprep_client.programs.podman.records import (
    ContainerImage,
    InspectedContainer,
    ListedContainer,
)

__all__ = [
    "ContainerImage",
    "InspectedContainer",
    "ListedContainer",
    "Podman",
    "PodmanInformation",
    "PullOptions",
]
