"""Image layouts of the OCI image spec, one directory per repository.

``oci:/srv/images`` with the repository ``ns/nova-api`` is the layout that
skopeo and podman call ``oci:/srv/images/ns/nova-api``. Manifests keep their
bytes and so their types; those two tools find by tag only manifests of OCI
types in a layout, not docker's.
"""

from imageprep_client.stores.layout.root import LayoutRoot
from imageprep_client.stores.layout.store import LayoutStore

__all__ = ["LayoutRoot", "LayoutStore"]
