"""Filters of the role; see imageprep_client.modify."""

from __future__ import annotations

from collections.abc import Callable

from imageprep_client.modify import dockerfile, giturl
from imageprep_client.rpm import packages


class FilterModule:
    """The filter plugin that ansible loads."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """The filters by name."""
        return {
            "tripleo_modify_image_credentials": giturl.credentials,
            "tripleo_modify_image_dockerfile": dockerfile.modified,
            "tripleo_modify_image_older_than": packages.older,
            "tripleo_modify_image_public": giturl.public,
        }
