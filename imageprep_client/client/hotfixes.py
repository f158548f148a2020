"""Installing packages into images."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from imageprep_client.client import policies
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.container.hotfix import installation
from imageprep_client.container.hotfix.installation import (
    HotfixRequest,
    HotfixResult,
)
from imageprep_client.host import undercloud
from imageprep_client.observer import SILENT, Observer

__all__ = ["HotfixRequest", "HotfixResult", "hotfix_images"]


def hotfix_images(
    request: HotfixRequest,
    options: RegistryOptions | None = None,
    observer: Observer = SILENT,
    *,
    header: Sequence[str] = (),
) -> HotfixResult:
    """Install packages; see `container.hotfix.installation.hotfix`.

    :param header: comment lines for the file of the parameters.
    :raises InvalidFile: when the signature policy cannot be used.
    """
    options = options or RegistryOptions()
    policies.check(options.signature_policy)
    with Stores(options, observer) as stores:
        return installation.hotfix(
            request,
            stores=stores,
            undercloud_registry=undercloud.registry,
            observer=observer,
            now=datetime.datetime.now(),
            header=header,
        )
