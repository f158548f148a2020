"""The container images of each release, and the services that need them."""

from imageprep_client.catalog.release import (
    DEFAULT_RELEASE,
    Catalog,
    load,
    probable,
    releases,
)
from imageprep_client.catalog.table_image import TableImage

__all__ = [
    "DEFAULT_RELEASE",
    "Catalog",
    "TableImage",
    "load",
    "probable",
    "releases",
]
