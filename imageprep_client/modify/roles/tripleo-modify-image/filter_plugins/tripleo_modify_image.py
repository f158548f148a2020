"""What the role works out in Python; see imageprep_client.modify."""

from __future__ import annotations

from collections.abc import Callable

from imageprep_client.modify import (
    dockerfile,
    giturl,
)
from imageprep_client.rpm import packages


class FilterModule:
    """The filters, as ansible looks for them."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Each by its name."""
        return {
            "tripleo_modify_image_credentials": giturl.credentials,
            "tripleo_modify_image_dockerfile": dockerfile.modified,
            "tripleo_modify_image_older_than": packages.older,
            "tripleo_modify_image_public": giturl.public,
        }
