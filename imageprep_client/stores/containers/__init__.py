"""Read images in local storage, ``containers-storage:``.

buildah and podman keep the bytes of the config and the manifest of an image,
and its unpacked layers. A registry has compressed layers. The compressed form
of a layer is taken from a place that has it, or is made, and the manifest
names the result. ``doc/source/contributor/adr`` has the reasons.
"""

from imageprep_client.stores.containers.storage import ContainersStorage
from imageprep_client.stores.containers.store import ContainersStore

__all__ = ["ContainersStorage", "ContainersStore"]
