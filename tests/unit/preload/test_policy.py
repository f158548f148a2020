"""Preloads obey the signature policy of the host that starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.observer import Observer
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.preload import demand, sites
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from imageprep_client.transfer.known import KnownContent


def test_refused_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused image gets no tag at a site, and no node is told of it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "policy.json"
    with RegistryServer() as source, RegistryServer() as site:
        for name in ("good", "bad"):
            put(source.content.store(f"ns/{name}"), content.image(name), "1")
        accepted = {
            f"{source.host}/ns/good": [{"type": "insecureAcceptAnything"}]
        }
        policy = {
            "default": [{"type": "reject"}],
            "transports": {"docker": accepted},
        }
        path.write_text(json.dumps(policy))
        wanted = tuple(
            Reference.parse(f"{source.host}/ns/{name}:1")
            for name in ("good", "bad")
        )
        nodes = [demand.NodeDemand("n", wanted, Location.parse(site.host))]
        known = KnownContent()
        options = RegistryOptions(signature_policy=str(path))
        with Stores(options, Observer()) as stores:
            images, failures = demand.resolve(nodes, stores, known, 4)
            sites.fill(
                nodes,
                images,
                stores,
                observer=Observer(),
                known=known,
                concurrency=4,
                dry_run=False,
            )

        assert list(images) == [str(wanted[0])]
        (refusal,) = failures.values()
        assert isinstance(refusal, errors.PolicyRefused)
        assert list(site.content.store("ns/good").tags()) == ["1"]
        with pytest.raises(errors.NotFound):
            site.content.store("ns/bad").resolve("1")
