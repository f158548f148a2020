"""Which container images a release has, and what each of them is for."""

from imageprep_client.catalog.entry import Entry
from imageprep_client.catalog.release import (
    DEFAULT_RELEASE,
    Catalog,
    load,
    releases,
)

__all__ = ["DEFAULT_RELEASE", "Catalog", "Entry", "load", "releases"]
