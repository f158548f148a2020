"""The releases, and the environment that a deployment of each starts from."""

from __future__ import annotations

from imageprep_client.catalog import DEFAULT_RELEASE, releases
from imageprep_client.container.default import environment

__all__ = ["DEFAULT_RELEASE", "environment", "releases"]
