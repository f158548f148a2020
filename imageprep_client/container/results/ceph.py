"""The credentials that a Ceph deployment needs to pull its own images."""

from __future__ import annotations

import json
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.catalog import Catalog
from imageprep_client.container.worklist import Selection
from imageprep_client.heat.parameters import Credential, PrepareParameters
from imageprep_client.oci.redaction import redacted


def credential(
    parameters: PrepareParameters,
    catalog: Catalog,
    selections: Sequence[Selection],
) -> Credential:
    """The user of the registry in ``ceph_namespace``; a later entry wins.

    :raises InvalidArgument: when no credentials name that registry.
    """
    namespace = str(catalog.values.get("ceph_namespace", ""))
    for selection in selections:
        namespace = str(
            selection.entry.values.get("ceph_namespace", namespace)
        )
    registry = namespace.partition("/")[0]
    login = parameters.credentials.get(registry)
    if login is None:
        shown = redacted(namespace).partition("/")[0]
        raise errors.InvalidArgument(
            "no credentials for the registry of ceph_namespace,"
            f" {shown or 'which is not set'}",
            hint="name it in ContainerImageRegistryCredentials, or leave"
            " --ceph-vars-file out",
        )
    return login


def render(login: Credential) -> str:
    """The variables of ceph-ansible, as YAML. Not for other eyes."""
    # A JSON string is a YAML string, whatever characters are in it.
    return (
        f"ceph_docker_registry_username: {json.dumps(login.username)}\n"
        f"ceph_docker_registry_password: {json.dumps(login.password)}\n"
    )
