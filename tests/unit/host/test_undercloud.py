"""Names of this host."""

from __future__ import annotations

import socket

import pytest

from imageprep_client.host import undercloud


@pytest.fixture
def names(monkeypatch):
    """A resolver that knows these names only."""
    known: dict[str, str] = {}

    def getaddrinfo(name, port, **kwargs):
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [
            (socket.AF_INET, kwargs["type"], 0, known[name], ("192.0.2.1", 0))
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "gethostname", lambda: "uc.example.com")
    return known


def test_registry_is_the_ctlplane_name(names):
    """Where the ctlplane name resolves, its canonical form is used."""
    names["uc.ctlplane"] = "uc.ctlplane.localdomain"
    assert undercloud.registry() == "uc.ctlplane.localdomain:8787"


def test_registry_without_a_canonical_name(names):
    """A resolver that gives none leaves the name as it was asked for."""
    names["uc.ctlplane"] = ""
    assert undercloud.registry() == "uc.ctlplane:8787"


def test_registry_falls_back_to_localhost(names):
    """A host without a ctlplane name is localhost."""
    assert undercloud.registry() == "localhost:8787"


@pytest.mark.parametrize(
    ("registry", "advice"),
    [
        ("localhost:8787", "is its web server running, which serves /var/lib"),
        ("[::1]:5000", "port 5000 of this host: is its registry running"),
        ("192.0.2.1:5000", ""),
        ("localhost", ""),
    ],
)
def test_advice(registry, advice):
    """Advice is given about this host's registries only."""
    undercloud.is_this_host.cache_clear()
    found = undercloud.advice(registry)
    assert advice in found
    assert bool(found) is bool(advice)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2"])
def test_own_addresses(host):
    """Loopback is this host."""
    undercloud.is_this_host.cache_clear()
    assert undercloud.is_this_host(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_other_addresses(host):
    """A documentation address, and a name that does not exist, are not."""
    undercloud.is_this_host.cache_clear()
    assert not undercloud.is_this_host(host)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("quay.io", "quay.io", True),
        ("localhost:5000", "127.0.0.1:5000", True),
        ("localhost:5000", "127.0.0.1:5001", False),
        ("localhost:5000", "192.0.2.1:5000", False),
        ("quay.io", "docker.io", False),
    ],
)
def test_are_one(one: str, other: str, same: bool) -> None:
    """Two names of this host with one port are one registry."""
    assert undercloud.are_one(one, other) is same
