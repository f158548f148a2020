"""Images in local storage, ``containers-storage:``, to read.

What buildah and podman keep of an image is its config and manifest, byte for
byte, and its layers unpacked. A registry has layers packed, so a layer's
packed form is taken from where it is known to be, or else made; the manifest
names what that gives. ``doc/source/contributor/adr`` has the reasons.
"""

from imageprep_client.stores.containers.storage import ContainersStorage
from imageprep_client.stores.containers.store import ContainersStore

__all__ = ["ContainersStorage", "ContainersStore"]
