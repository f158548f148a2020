"""The program `buildah`: images in local storage, and changes to them.

A thin layer that starts the program and turns its output into values, and its
failures into errors. The environment (``BUILDAH_ISOLATION``,
``CONTAINERS_STORAGE_CONF``, ``STORAGE_DRIVER``, ...), which configures where
images are stored and how containers are isolated, is passed on unchanged.
Others on the host can read command lines: no secrets belong there.
"""

from imageprep_client.programs.buildah.commands import Buildah
from imageprep_client.programs.buildah.container import Container
from imageprep_client.programs.buildah.images import LocalImage, image_id
from imageprep_client.programs.buildah.names import (
    PREFIX,
    is_abandoned,
    is_own,
    own_name,
    temporary,
)
from imageprep_client.programs.process import Finished

__all__ = [
    "PREFIX",
    "Buildah",
    "Container",
    "Finished",
    "LocalImage",
    "image_id",
    "is_abandoned",
    "is_own",
    "own_name",
    "temporary",
]
