"""How each registry is spoken to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry.endpoints.hosts import (
    Endpoint,
    Hosts,
    certificates,
)
from tests.once import ONE_ATTEMPT


def bases(hosts: Hosts, name: str) -> list[tuple[str, bool]]:
    return [(e.base, e.tls.verify) for e in hosts.candidates(name)]


def test_verified_tls_only() -> None:
    """By default there is one endpoint: https, verified."""
    assert bases(Hosts(), "quay.io") == [("https://quay.io", True)]


def test_docker_hub() -> None:
    """docker.io is served by another host."""
    (endpoint,) = Hosts().candidates("docker.io")
    assert endpoint == Endpoint(
        "registry-1.docker.io", "https://registry-1.docker.io"
    )


def test_loopback() -> None:
    """This host may be spoken to in any way; plain HTTP answers fastest."""
    assert bases(Hosts(), "localhost:5000") == [
        ("http://localhost:5000", True),
        ("https://localhost:5000", True),
        ("https://localhost:5000", False),
    ]


def test_loopback_without_port() -> None:
    """Without a port TLS is tried first."""
    assert bases(Hosts(), "[::1]")[0] == ("https://[::1]", True)
    assert bases(Hosts(), "[::1]:5000")[0] == ("http://[::1]:5000", True)


def test_loopback_with_a_ca_is_verified() -> None:
    """A given certificate is checked on this host, too."""
    hosts = Hosts(cacert="/ca.pem")
    assert ("https://localhost:5000", False) not in bases(
        hosts, "localhost:5000"
    )


@pytest.mark.parametrize("listed", ["10.0.0.1:8787", "10.0.0.1", "10.0.0.1/"])
def test_listed_registries(listed: str) -> None:
    """Listed ones may be unverified, by host and port or by host."""
    assert bases(Hosts(insecure=[listed]), "10.0.0.1:8787") == [
        ("http://10.0.0.1:8787", False),
        ("https://10.0.0.1:8787", False),
    ]


def test_names_have_no_case() -> None:
    """A name is listed however it is written."""
    hosts = Hosts(insecure=["Undercloud.ctlplane:8787"])
    assert hosts.is_listed("undercloud.CTLPLANE:8787")


def test_listed_ports_are_meant() -> None:
    """Another port of a listed registry is another registry."""
    hosts = Hosts(insecure=["10.0.0.1:8787"])
    assert bases(hosts, "10.0.0.1:5000") == [("https://10.0.0.1:5000", True)]


def test_listed_names_are_checked() -> None:
    """A listed registry that is none is refused at once."""
    with pytest.raises(errors.InvalidReference):
        Hosts(insecure=["http://10.0.0.1"])


def test_certificates_of_a_host(tmp_path: Path) -> None:
    """certs.d has authorities and a client's certificate by host."""
    directory = tmp_path / "reg.example:5000"
    directory.mkdir()
    for name in ("ca.crt", "client.cert", "client.key"):
        (directory / name).touch()
    hosts = Hosts(cacert="/all.pem", certs_d=[tmp_path])
    tls = hosts.tls_of("reg.example:5000")
    assert tls.verify
    assert tls.ca_files == ("/all.pem", str(directory / "ca.crt"))
    assert tls.cert == str(directory / "client.cert")
    assert tls.key == str(directory / "client.key")
    assert hosts.tls_of("other.example").ca_files == ("/all.pem",)


def test_certificates_of_the_user_come_first(tmp_path: Path) -> None:
    """The first directory that has the host is the only one read."""
    mine, system = certificates(tmp_path)[0], tmp_path / "system"
    for directory in (mine / "a", system / "a", system / "b"):
        directory.mkdir(parents=True)
        (directory / "ca.crt").touch()
    hosts = Hosts(certs_d=[mine, system])
    assert hosts.tls_of("a").ca_files == (str(mine / "a" / "ca.crt"),)
    assert hosts.tls_of("b").ca_files == (str(system / "b" / "ca.crt"),)
    assert mine == tmp_path / ".config/containers/certs.d"


@pytest.mark.parametrize("name", ["client.cert", "client.key"])
def test_half_of_a_client_certificate(tmp_path: Path, name: str) -> None:
    """Half a pair is an error that names the file, as with podman."""
    (tmp_path / "reg.example").mkdir()
    (tmp_path / "reg.example" / name).touch()
    with pytest.raises(errors.InvalidFile, match=f"/{name}"):
        Hosts(certs_d=[tmp_path]).candidates("reg.example")


@pytest.mark.parametrize(
    ("mirror", "base"),
    [
        ("http://10.0.0.1:5000/", "http://10.0.0.1:5000"),
        ("https://mirror.example/proxy", "https://mirror.example/proxy"),
        ("mirror.example", "https://mirror.example"),
        ("mirror.example:80/proxy/", "https://mirror.example:80/proxy"),
    ],
)
def test_mirrors(mirror: str, base: str) -> None:
    """A mirror is a host or a URL, with a path where it has one."""
    hosts = Hosts(mirrors={"docker.io": mirror})
    (place,) = hosts.route("docker.io", "library/x").mirrors
    assert place.repository == "library/x"
    assert bases(hosts, place.registry)[0][0] == base
    assert not hosts.route("quay.io", "ns/x").mirrors


@pytest.mark.parametrize(
    "mirror", ["ftp://mirror", "http://a b", "https://user:pw@mirror", ""]
)
def test_bad_mirrors(mirror: str) -> None:
    """A mirror that is no host is refused, no password is shown."""
    with pytest.raises(errors.InvalidReference):
        Hosts(mirrors={"docker.io": mirror})


def retrier() -> Retrier:
    return Retrier(ONE_ATTEMPT, Observer(), threading.Event())


def test_settles_once() -> None:
    """A registry is probed once, however many ask at the same time."""
    hosts = Hosts()
    probed = []
    everybody = threading.Barrier(4)

    def probe(endpoint: Endpoint) -> bool:
        probed.append(endpoint.base)
        return True

    def select_endpoint(_: int) -> Endpoint:
        everybody.wait(timeout=60)
        return hosts.select_endpoint("localhost:5000", probe, retrier())

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(select_endpoint, range(4)))
    assert len(found) == 1
    assert probed == ["http://localhost:5000"]


def test_settles_for_what_answers() -> None:
    """Ways are tried in order until a registry answers."""
    hosts = Hosts()
    found = hosts.select_endpoint(
        "localhost:5000",
        lambda endpoint: endpoint.base.startswith("https"),
        retrier(),
    )
    assert found.base == "https://localhost:5000"
    assert hosts.insecure_in_use() == []


def test_settles_without_a_choice() -> None:
    """Nothing is probed where only one endpoint is allowed."""

    def probe(endpoint: Endpoint) -> bool:
        raise AssertionError(endpoint)

    endpoint = Hosts().select_endpoint("quay.io", probe, retrier())
    assert endpoint.base == "https://quay.io"


def test_tells_the_first_failure() -> None:
    """When nothing answers, the first endpoint says why."""

    def probe(endpoint: Endpoint) -> bool:
        raise errors.Unreachable(endpoint.base)

    with pytest.raises(errors.Unreachable, match="http://localhost:5000"):
        Hosts().select_endpoint("localhost:5000", probe, retrier())


def test_tells_that_there_is_no_registry() -> None:
    """A server that is no registry is told apart."""
    with pytest.raises(errors.ServerFault, match="no registry answers"):
        Hosts().select_endpoint("localhost:5000", lambda _: False, retrier())


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (errors.Unreachable("TLS", temporary=False), errors.ServerFault),
        (errors.Unreachable("reset"), errors.Unreachable),
        (errors.Unverified("expired"), errors.Unverified),
    ],
)
def test_tells_that_another_server_answers(
    failure: errors.Unreachable, expected: type[errors.StoreError]
) -> None:
    """To permit plain HTTP is no remedy where it was tried already."""

    def probe(endpoint: Endpoint) -> bool:
        if endpoint.base.startswith("https:"):
            raise failure
        return False

    with pytest.raises(expected) as caught:
        Hosts().select_endpoint("localhost:5000", probe, retrier())
    assert type(caught.value) is expected


def test_insecure_in_use() -> None:
    """Registries spoken to in the open are known afterwards, sorted."""
    hosts = Hosts(insecure=["b:1", "a:1"])
    for name in ("b:1", "a:1", "quay.io"):
        hosts.select_endpoint(name, lambda _: True, retrier())
    assert hosts.insecure_in_use() == ["a:1", "b:1"]
