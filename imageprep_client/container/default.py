"""The environment that a deployment starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imageprep_client import catalog
from imageprep_client.heat import environment as environments
from imageprep_client.heat import parameters
from imageprep_client.host import files

DEFAULT_RELEASE = catalog.DEFAULT_RELEASE


def environment(
    release: str = DEFAULT_RELEASE,
    *,
    local_push_destination: bool = False,
    registry_login: bool = False,
    header: Sequence[str] = (),
    output_env_file: str | None = None,
) -> str:
    """An environment file with the release's ``ContainerImagePrepare``.

    :param local_push_destination: whether every entry copies its images to
        the undercloud's registry.
    :param registry_login: whether the nodes log in to the registries.
    :param header: comment lines above it.
    :param output_env_file: where it is written, too; an old file is kept as
        a backup. None: nowhere.
    :returns: its text.
    :raises InvalidArgument: for a release that is unknown or has no default.
    :raises InvalidFile, NoSpace: when the file cannot be written.
    """
    entries = catalog.load(release).default_prepare
    if local_push_destination:
        for entry in entries:
            entry["push_destination"] = True
    values: dict[str, Any] = {"ContainerImagePrepare": entries}
    if registry_login:
        values["ContainerImageRegistryLogin"] = True
    text = parameters.render(
        values, [*header, f"{environments.RELEASE}{release}"]
    )
    if output_env_file:
        files.write(output_env_file, text, backup=True)
    return text
