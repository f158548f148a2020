"""The program `buildah`: images in local storage, and changes to them.

A thin layer: it starts the program, turns what it prints into values and
what goes wrong into errors. Where images are kept and how containers are
isolated is the program's own configuration, see its manual: the environment
(``BUILDAH_ISOLATION``, ``CONTAINERS_STORAGE_CONF``, ``STORAGE_DRIVER``, ...)
is passed on as it is. What is given on its command line can be seen in the
process list: no secrets.
"""

from imageprep_client.programs.buildah.commands import Buildah
from imageprep_client.programs.buildah.container import Container
from imageprep_client.programs.buildah.images import (
    LocalImage,
    image_id,
)
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
