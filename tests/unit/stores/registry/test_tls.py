"""Certificates are verified, except where the user said otherwise."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.http.transport import TLS, Timeouts, Transports
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Endpoint, Hosts
from imageprep_client.stores.registry.endpoints.probing import probe
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import RegistryServer
from tests import programs, servers
from tests.recorder import Recorder

# The registry client switches it off, and pytest switches it on again.
pytestmark = pytest.mark.filterwarnings(
    "ignore::urllib3.exceptions.InsecureRequestWarning"
)

MakeClient = Callable[..., RegistryClient]
BLOB = content.blob("tls")


@pytest.fixture
def secure(secure: RegistryServer) -> RegistryServer:
    """The registry has the blob."""
    secure.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    return secure


def reads(client: RegistryClient, server: RegistryServer) -> bool:
    """Whether a client sees the blob."""
    return client.store(server.host, "ns/name").exists(BLOB.descriptor)


def test_cacert(
    secure: RegistryServer, make_client: MakeClient, certificates: Path
) -> None:
    """With the authority's certificate the registry is trusted."""
    hosts = Hosts(cacert=str(certificates / "ca.crt"))
    assert reads(make_client(hosts), secure)
    assert hosts.insecure_in_use() == []


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("REQUESTS_CA_BUNDLE", False),
        ("REQUESTS_CA_BUNDLE", True),
        ("CURL_CA_BUNDLE", False),
        ("SSL_CERT_FILE", False),
    ],
)
def test_authorities_of_the_environment(
    secure: RegistryServer,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    hashed: bool,
) -> None:
    """Authorities that other commands of openstack trust are trusted."""
    named = certificates / "ca.crt"
    if hashed:
        shutil.copy(named, tmp_path / "ca.crt")
        subprocess.run(["openssl", "rehash", tmp_path], check=True)
        named = tmp_path
    monkeypatch.setenv(name, str(named))
    assert probe(Endpoint(secure.host, secure.url), Transports(1), Timeouts())


def test_missing_authorities_of_the_environment(
    secure: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that does not exist is named, where it would be used."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    endpoint = Endpoint(secure.host, secure.url, TLS(verify=False))
    assert probe(endpoint, Transports(1), Timeouts())
    with pytest.raises(
        errors.InvalidFile, match=r"/nonexistent\.pem"
    ) as caught:
        probe(Endpoint(secure.host, secure.url), Transports(1), Timeouts())
    assert caught.value.hint == "REQUESTS_CA_BUNDLE names it"


def test_authorities_without_hashed_names(
    secure: RegistryServer,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenSSL finds nothing in such a directory, so none is trusted."""
    shutil.copy(certificates / "ca.crt", tmp_path / "ca.crt")
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path))
    with pytest.raises(errors.InvalidFile, match="hashed names") as caught:
        probe(Endpoint(secure.host, secure.url), Transports(1), Timeouts())
    assert str(caught.value.hint).startswith("CURL_CA_BUNDLE names it; ")


def test_certs_d(
    secure: RegistryServer,
    make_client: MakeClient,
    certificates: Path,
    tmp_path: Path,
) -> None:
    """The same for one registry, by its directory."""
    directory = tmp_path / secure.host
    directory.mkdir()
    (directory / "ours.crt").write_bytes(
        (certificates / "ca.crt").read_bytes()
    )
    hosts = Hosts(certs_d=[tmp_path])
    assert reads(make_client(hosts), secure)
    assert hosts.insecure_in_use() == []


def test_wrong_authority(
    secure: RegistryServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """A certificate of somebody else stops the run, with the remedies."""
    other = servers.make_certificate(tmp_path)
    client = make_client(Hosts(cacert=str(other)))
    with pytest.raises(errors.Unreachable, match="cannot be verified") as got:
        client.store(secure.host, "ns/name").exists(BLOB.descriptor)
    assert not got.value.temporary
    assert got.value.hint
    for remedy in ("--cacert", "certs.d", "--insecure-registry"):
        assert remedy in got.value.hint


@pytest.mark.parametrize(
    ("name", "days", "remedy"),
    [
        ("IP:127.0.0.1", "0", "renew the certificate"),
        ("IP:192.0.2.1", "2", "a name that is in the certificate"),
    ],
)
def test_certificates_of_no_use(
    make_client: MakeClient,
    certificates: Path,
    tmp_path: Path,
    name: str,
    days: str,
    remedy: str,
) -> None:
    """Where the authority is known, its certificate is no remedy."""
    authority, key = certificates / "ca.crt", certificates / "server.key"
    made = tmp_path / "made.crt"
    request = ["req", "-new", "-key", str(key), "-subj", "/CN=other"]
    sign = ["x509", "-req", "-copy_extensions", "copy", "-days", days]
    sign += ["-CA", str(authority), "-CAkey", str(certificates / "ca.key")]
    asked = programs.run(
        "openssl", *request, "-addext", f"subjectAltName={name}"
    )
    programs.run("openssl", *sign, "-out", made, stdin=asked)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    client = make_client(Hosts(cacert=str(authority)))
    with (
        RegistryServer(tls=context) as server,
        pytest.raises(errors.Unverified) as caught,
    ):
        client.store(server.host, "ns/name").exists(BLOB.descriptor)
    assert remedy in str(caught.value.hint)
    assert "authority" not in str(caught.value.hint)


def test_failure_is_no_reason_for_plain_http(
    server: RegistryServer, observer: Recorder
) -> None:
    """A registry that must be verified and is not is given up."""
    hosts = Hosts()
    endpoint = Endpoint(server.host, f"https://{server.host}")
    with pytest.raises(errors.Unreachable, match="TLS failed") as caught:
        probe(endpoint, Transports(1), Timeouts())
    assert "--insecure-registry" in str(caught.value.hint)
    assert [e.base for e in hosts.candidates("quay.io")] == ["https://quay.io"]


def test_listed_registries_are_not_verified(
    secure: RegistryServer, make_client: MakeClient
) -> None:
    """A listed one is used unverified, and that is recorded."""
    hosts = Hosts(insecure=[secure.host])
    assert reads(make_client(hosts), secure)
    assert hosts.insecure_in_use() == [secure.host]


def test_this_host_needs_no_certificate(
    secure: RegistryServer, client: RegistryClient
) -> None:
    """On this host an unknown certificate will do, but is recorded."""
    assert client.store(secure.host, "ns/name").exists(BLOB.descriptor)
    assert client.hosts.insecure_in_use() == [secure.host]


def test_plain_http_on_this_host(
    server: RegistryServer,
    client: RegistryClient,
    observer: Recorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On this host plain HTTP is found out with the first question itself,
    and told to the log only.
    """
    caplog.set_level(logging.INFO, "imageprep_client")
    with pytest.raises(errors.NotFound):
        client.store(server.host, "ns/name").resolve("latest")
    assert {request.path for request in server.log} == {
        "/v2/ns/name/manifests/latest"
    }
    assert client.hosts.insecure_in_use() == [server.host]
    assert not observer.warnings
    assert caplog.messages == [
        f"{server.host}: it is spoken to over plain HTTP"
    ]


def test_policies_share_no_connections(
    secure: RegistryServer, certificates: Path
) -> None:
    """An unverified connection serves no verified request (CVE-2024-35195)."""
    transports = Transports(1)
    endpoint = Endpoint(secure.host, secure.url, TLS(verify=False))
    assert probe(endpoint, transports, Timeouts())
    with pytest.raises(errors.Unreachable, match="cannot be verified"):
        probe(Endpoint(secure.host, secure.url), transports, Timeouts())


def test_bad_cacert(make_client: MakeClient, tmp_path: Path) -> None:
    """A file without certificates is named."""
    (tmp_path / "ca.pem").write_text("none")
    for name in ("ca.pem", "missing.pem"):
        client = make_client(Hosts(cacert=str(tmp_path / name)))
        with pytest.raises(errors.InvalidFile, match=name) as caught:
            client.store("127.0.0.1:1", "ns/x").resolve("latest")
        assert ".c:" not in str(caught.value)


def test_client_certificate(
    certificates: Path, make_client: MakeClient, tmp_path: Path
) -> None:
    """A registry that wants a certificate of its client gets it."""
    context = servers.tls_context(certificates)
    context.load_verify_locations(certificates / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    with RegistryServer(tls=context) as server:
        server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
        directory = tmp_path / server.host
        directory.mkdir()
        for source, name in {
            "ca.crt": "ca.crt",
            "server.crt": "client.cert",
            "server.key": "client.key",
        }.items():
            data = (certificates / source).read_bytes()
            (directory / name).write_bytes(data)
        store = make_client(Hosts(certs_d=[tmp_path])).store(
            server.host, "ns/name"
        )
        assert store.exists(BLOB.descriptor)
        (directory / "client.key").write_text("none")
        store = make_client(Hosts(certs_d=[tmp_path])).store(
            server.host, "ns/other"
        )
        with pytest.raises(errors.InvalidFile, match=r"client\.cert"):
            store.exists(BLOB.descriptor)


def test_nobody_there(make_client: MakeClient, observer: Recorder) -> None:
    """A refused connection is one short line, after all retries."""
    port = servers.free_port()
    store = make_client().store(f"127.0.0.1:{port}", "ns/name")
    with pytest.raises(errors.Unreachable) as caught:
        store.resolve("latest")
    assert str(caught.value) == f"127.0.0.1:{port}: connection refused"
    assert len(observer.retries) == 4


def test_nobody_answers(make_client: MakeClient) -> None:
    """A server that is silent is not waited for for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        client = make_client(timeouts=Timeouts(0.05, 0.05))
        with pytest.raises(errors.Unreachable, match=f"{host}: timed out"):
            client.store(host, "ns/name").resolve("latest")


def test_redirects_to_another_host_are_verified(
    server: RegistryServer, secure: RegistryServer, make_client: MakeClient
) -> None:
    """Where a registry is not verified, other hosts are nevertheless."""
    port = secure.host.rpartition(":")[2]
    server.behaviour.redirect_blobs = f"https://localhost:{port}"
    server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    client = make_client(Hosts(insecure=[server.host]))
    with pytest.raises(errors.Unreachable, match="cannot be verified"):
        client.store(server.host, "ns/name").fetch(BLOB.descriptor)


def test_redirects_to_another_host(
    server: RegistryServer, make_client: MakeClient
) -> None:
    """Another name of this host is another host, and followed."""
    with RegistryServer(server.content) as storage:
        port = storage.host.rpartition(":")[2]
        server.behaviour.redirect_blobs = f"http://localhost:{port}"
        server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
        store = make_client().store(server.host, "ns/name")
        with store.fetch(BLOB.descriptor) as stream:
            assert stream.read() == BLOB.data


def test_addresses_in_brackets(client: RegistryClient) -> None:
    """Errors write an IPv6 address so that it can be used."""
    port = servers.free_port()
    store = client.store(f"[::1]:{port}", "ns/name")
    with pytest.raises(errors.Unreachable, match=rf"^\[::1\]:{port}: "):
        store.resolve("latest")


def test_systems_without_authorities(
    secure: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has none, those of the requests library are used."""
    paths = mock.Mock(spec=ssl.DefaultVerifyPaths, cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    with pytest.raises(errors.Unreachable, match="cannot be verified"):
        probe(Endpoint(secure.host, secure.url), Transports(1), Timeouts())


def test_other_tls_failures(secure: RegistryServer) -> None:
    """A failure of TLS that is no certificate's may pass."""
    with socket.create_server(("127.0.0.1", 0)) as rude:
        host = f"127.0.0.1:{rude.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = rude.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(errors.Unreachable) as caught:
            probe(Endpoint(host, f"https://{host}"), Transports(1), Timeouts())
        thread.join()
    assert caught.value.temporary


def test_redirects_to_a_default_port(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A host without a port is looked up and named without one."""
    server.behaviour.redirect_blobs = "https://localhost"
    server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    with pytest.raises(errors.Unreachable, match=r"^localhost: "):
        store.fetch(BLOB.descriptor)


def test_client_certificate_that_is_missing(certificates: Path) -> None:
    """A server that wants a certificate and gets none says so."""
    context = servers.tls_context(certificates)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certificates / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    with RegistryServer(tls=context) as server:
        endpoint = Endpoint(server.host, server.url, TLS(verify=False))
        with pytest.raises(errors.Unreachable, match="TLS failed"):
            probe(endpoint, Transports(1), Timeouts())


def test_uploads_stay_with_tls(
    secure: RegistryServer, server: RegistryServer, client: RegistryClient
) -> None:
    """A location that leaves TLS gets nothing (CVE-2026-50151)."""
    place = f"{server.url}/v2/ns/name/blobs/uploads/x"
    secure.fail("POST", status=202, headers={"Location": place})
    blob = content.blob("new")
    store = client.store(secure.host, "ns/name")
    with pytest.raises(errors.ServerFault, match="from https"):
        store.push(blob.descriptor, blob.open())
    assert not server.log


def test_token_servers_stay_with_tls(
    certificates: Path, make_client: MakeClient
) -> None:
    """Behind a proxy that ends TLS, a registry names itself without it."""
    context = servers.tls_context(certificates)
    gate = Bearer(anonymous=True)
    with RegistryServer(tls=context, gate=gate) as server:
        gate.realm = f"http://{server.host}/token"
        server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
        hosts = Hosts(cacert=str(certificates / "ca.crt"))
        scope = "scope=repository:ns/name:pull"
        slash = {"Location": f"http://{server.host}/token?slash&{scope}"}
        server.fail(path="/token", status=301, headers=slash)
        store = make_client(hosts).store(server.host, "ns/name")
        assert store.exists(BLOB.descriptor)


@pytest.mark.parametrize(
    "name", ["authority.crt", "client.cert", "client.key"]
)
def test_fifos_are_refused(
    secure: RegistryServer,
    make_client: MakeClient,
    tmp_path: Path,
    certificates: Path,
    name: str,
) -> None:
    """A FIFO among the certificates of a host is not waited for."""
    directory = tmp_path / secure.host
    directory.mkdir()
    for kind in ("cert", "key"):
        text = certificates / f"server.{kind.replace('cert', 'crt')}"
        (directory / f"client.{kind}").write_bytes(text.read_bytes())
    (directory / name).unlink(missing_ok=True)
    os.mkfifo(directory / name)
    client = make_client(Hosts(certs_d=[tmp_path]))
    with pytest.raises(errors.InvalidFile, match="not a regular file"):
        client.store(secure.host, "ns/name").resolve("latest")


def test_encrypted_keys_are_not_asked_for(
    secure: RegistryServer,
    make_client: MakeClient,
    tmp_path: Path,
    certificates: Path,
) -> None:
    """The password of a client's key is not asked for on the terminal."""
    directory = tmp_path / secure.host
    directory.mkdir()
    (directory / "client.cert").write_bytes(
        (certificates / "server.crt").read_bytes()
    )
    programs.run(
        *("openssl", "pkey", "-aes256", "-passout", "pass:x"),
        *("-in", certificates / "server.key"),
        *("-out", directory / "client.key"),
    )
    client = make_client(Hosts(certs_d=[tmp_path]))
    with pytest.raises(errors.InvalidFile, match="the key is encrypted"):
        client.store(secure.host, "ns/name").resolve("latest")
