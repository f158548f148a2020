"""A tag names what was sent, or the push fails."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from imageprep_client import errors
from imageprep_client.http import connections, transport
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, registry
from imageprep_client.testing.streams import push

IMAGE = content.image("tagged")
_POLICY = RetryPolicy(attempts=3, base=0.0)


class Corruption:
    """Changes a byte of so many manifests on their way to a tag."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self._send = transport.Transport.send
        self._left = times
        corruption = self

        def send(
            self: transport.Transport,
            method: str,
            url: str,
            headers: Mapping[str, str],
            body: bytes | connections.Body | None,
            timeout: connections.Timeout,
        ) -> transport.Response:
            if method == "PUT" and url.endswith("/manifests/tag"):
                body = corruption.change(body)
            return corruption._send(self, method, url, headers, body, timeout)

        monkeypatch.setattr(transport.Transport, "send", send)

    def change(
        self, body: bytes | connections.Body | None
    ) -> bytes | connections.Body | None:
        """The body, or another that parses as well."""
        if not self._left or not isinstance(body, bytes):
            return body
        self._left -= 1
        return body + b" "


@pytest.mark.parametrize("digest_header", [True, False])
@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_damaged_manifest_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, digest_header: bool, in_one_step: bool
) -> None:
    """The tag names the right one in the end."""
    behaviour = registry.Behaviour(digest_header=digest_header)
    with (
        registry.RegistryServer(behaviour=behaviour) as server,
        RegistryClient(policy=_POLICY) as client,
    ):
        store = client.store(server.host, "ns/name")
        push(store, *IMAGE.parts)
        Corruption(monkeypatch, 1)
        if in_one_step:
            with IMAGE.manifest.open() as stream:
                store.push_tagged(IMAGE.descriptor, stream, "tag")
        else:
            push(store, IMAGE.manifest)
            store.tag(IMAGE.descriptor, "tag")
        kept = server.content.store("ns/name").resolve("tag")
    assert kept.digest == IMAGE.descriptor.digest


def test_what_is_always_damaged_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No success is told of a tag that names something else."""
    with (
        registry.RegistryServer() as server,
        RegistryClient(policy=_POLICY) as client,
    ):
        store = client.store(server.host, "ns/name")
        push(store, *IMAGE.parts)
        Corruption(monkeypatch, 100)
        with (
            IMAGE.manifest.open() as stream,
            pytest.raises(errors.DigestMismatch, match="not what was sent"),
        ):
            store.push_tagged(IMAGE.descriptor, stream, "tag")
