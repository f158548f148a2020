"""Keppel, the registry of SAP for OpenStack clouds."""

from __future__ import annotations

import json

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put


def answer(code: str, message: str) -> bytes:
    """The body of an error."""
    error = {"code": code, "message": message, "detail": None}
    return json.dumps({"errors": [error]}).encode()


def test_a_reason_after_a_long_quotation(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A rule of an account that an image breaks is told.

    Labels and layers of the image are before it.
    """
    told = (
        'manifest upload {"labels":{"rdo_version":"1"},"layers":'
        f"{['media_type'] * 40}}} does not satisfy validation rule:"
        " 'maintainers' in labels"
    )
    body = answer("MANIFEST_INVALID", told)
    server.fail("PUT", "/manifests/", status=400, body=body, times=None)
    store = client.destination(server.host, "account/name")
    with pytest.raises(errors.Refused) as caught:
        put(store, content.image("labels"), "latest")
    message = str(caught.value)
    assert ': manifest upload {"labels":{"rdo_version"' in message
    assert "validation rule: 'maintainers' in labels (PUT " in message
    assert " ... " in message
