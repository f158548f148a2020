"""Attacks by a hostile registry, or by a host beside it, fail."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.gate import Basic, Bearer
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import push, put

MakeClient = Callable[..., RegistryClient]
PASSWORD = "Zz9Secret"
IMAGE = content.image("hardening")
BLOB = IMAGE.parts[0]


@pytest.fixture
def guarded() -> Iterator[RegistryServer]:
    """A registry with a password and an image."""
    with RegistryServer(gate=Basic("me", PASSWORD)) as server:
        store = server.content.store("ns/name")
        put(store, IMAGE, "latest")
        yield server


@pytest.fixture
def other() -> Iterator[RegistryServer]:
    """Another server on this host."""
    with RegistryServer() as server:
        yield server


@pytest.fixture
def trusted(
    make_client: MakeClient, guarded: RegistryServer
) -> RegistryClient:
    """A client that knows the password."""
    known = Credentials({guarded.host: ("me", PASSWORD)})
    return make_client(Hosts(credentials=known))


@pytest.fixture
def store(guarded: RegistryServer, trusted: RegistryClient) -> RegistryStore:
    """A repository of that registry."""
    return trusted.store(guarded.host, "ns/name")


def test_redirects_to_another_port_get_no_password(
    guarded: RegistryServer, other: RegistryServer, store: RegistryStore
) -> None:
    """Another port is another server (oras GHSA-vh4v-2xq2-g5cg)."""
    guarded.behaviour.redirect_blobs = other.url
    other.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    assert store_suite.read(store, BLOB.descriptor) == BLOB.data
    assert "Authorization" in guarded.log[-1].headers
    assert "Authorization" not in other.log[-1].headers


@pytest.mark.parametrize(
    "gate", [Basic("me", PASSWORD), Bearer("me", PASSWORD)]
)
def test_redirect_targets_are_never_authenticated(
    guarded: RegistryServer,
    other: RegistryServer,
    store: RegistryStore,
    gate: Basic | Bearer,
) -> None:
    """A 401 of a redirect's target gets no credentials (CVE-2020-15157)."""
    other.gate = gate
    guarded.behaviour.redirect_blobs = other.url
    with pytest.raises(errors.AccessDenied):
        store.fetch(BLOB.descriptor)
    assert [r.headers.get("Authorization") for r in other.log] == [None]


def test_storage_of_the_registry_itself_gets_no_password(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """Storage below another path may refuse tokens, as that of Quay does."""
    elsewhere = {"Location": "/_storage_proxy/signed?to=/v2/"}
    storage = "^/_storage_proxy/"
    guarded.fail("GET", "/blobs/", status=302, headers=elsewhere, skip=1)
    guarded.fail(path=storage, status=200, body=BLOB.data)
    assert store_suite.read(store, BLOB.descriptor) == BLOB.data
    (asked,) = guarded.requests("GET", storage)
    assert "Authorization" not in asked.headers


def test_redirects_back_stay_anonymous(
    guarded: RegistryServer, other: RegistryServer, store: RegistryStore
) -> None:
    """A password that was dropped is not taken up again."""
    other.behaviour.redirect_blobs = guarded.url
    other.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    guarded.behaviour.redirect_blobs = other.url
    with pytest.raises(errors.StoreError):
        store.fetch(BLOB.descriptor)
    sent = [
        "Authorization" in request.headers
        for request in guarded.requests("GET", "/blobs/")
    ]
    assert sent == [False, True, False]


def test_redirects_are_bounded(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """A redirect to itself ends."""
    guarded.behaviour.redirect_blobs = guarded.url
    with pytest.raises(errors.ServerFault, match="over 5 redirects"):
        store.fetch(BLOB.descriptor)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:1/",
        "http://user:pw@127.0.0.1:1/",
        "file:///etc/passwd",
        "http://[bad/",
        "http://192.0.2.1:0/",
    ],
)
def test_redirects_into_the_inside(
    guarded: RegistryServer, store: RegistryStore, location: str
) -> None:
    """A redirect to where a registry has no business is refused."""
    guarded.behaviour.redirect_blobs = location
    with pytest.raises(errors.ServerFault, match="refused") as caught:
        store.fetch(BLOB.descriptor)
    assert not caught.value.temporary


def test_bodies_of_redirects_are_not_read(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """A bomb in a redirect's body has no effect (CVE-2026-21441)."""
    guarded.fail(
        "GET",
        "/blobs/",
        status=307,
        headers={"Location": "/v2/", "Content-Encoding": "gzip"},
        body=b"no gzip" * 100_000,
    )
    store.resolve("latest")
    with pytest.raises(errors.SizeMismatch):
        store.fetch(BLOB.descriptor)


def test_redirected_writes_get_no_password(
    guarded: RegistryServer, other: RegistryServer, trusted: RegistryClient
) -> None:
    """Content is sent where a registry redirects it, credentials not."""
    guarded.behaviour.redirects = dict.fromkeys(
        ("POST", "PUT", "PATCH"), other.url
    )
    blob = content.blob("new")
    trusted.store(guarded.host, "ns/new").push(blob.descriptor, blob.open())
    assert other.content.store("ns/new").exists(blob.descriptor)
    assert not any("Authorization" in r.headers for r in other.log)


def test_deletions_follow_no_redirects(
    guarded: RegistryServer, other: RegistryServer, store: RegistryStore
) -> None:
    """Nothing is deleted where a registry redirects the request."""
    guarded.behaviour.redirects = {"DELETE": other.url}
    with pytest.raises(errors.ServerFault, match="307"):
        store.delete(IMAGE.descriptor)
    assert not other.log


@pytest.mark.parametrize("status", [301, 302, 303])
def test_writes_keep_their_method(
    guarded: RegistryServer,
    other: RegistryServer,
    trusted: RegistryClient,
    status: int,
) -> None:
    """A redirect that makes a GET of a write is not followed."""
    headers = {"Location": f"{other.url}/v2/"}
    guarded.fail("POST", status=status, headers=headers)
    blob = content.blob("new")
    with pytest.raises(errors.ServerFault, match=str(status)):
        push(trusted.store(guarded.host, "ns/new"), blob)
    assert not other.log


def test_upload_locations_elsewhere_get_no_password(
    guarded: RegistryServer, other: RegistryServer, trusted: RegistryClient
) -> None:
    """Content may go to another server, credentials not (CVE-2026-50151)."""
    other.uploads["x"] = bytearray()
    place = f"{other.url}/v2/ns/new/blobs/uploads/x"
    guarded.fail("POST", status=202, headers={"Location": place})
    blob = content.blob("new")
    trusted.store(guarded.host, "ns/new").push(blob.descriptor, blob.open())
    (put,) = other.log
    assert "Authorization" not in put.headers


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/x", "ftp://127.0.0.1/", None]
)
def test_bad_upload_locations(
    guarded: RegistryServer, trusted: RegistryClient, location: str | None
) -> None:
    """Content goes nowhere else."""
    headers = {"Location": location}
    guarded.fail("POST", status=202, headers=headers, times=None)
    blob = content.blob("new")
    with pytest.raises(errors.ServerFault):
        push(trusted.store(guarded.host, "ns/new"), blob)
    assert not guarded.requests("PUT")


def test_absolute_upload_locations_are_used(
    guarded: RegistryServer, trusted: RegistryClient
) -> None:
    """A location on the registry itself is used as it is, with its query."""
    blob = content.blob("new")
    trusted.store(guarded.host, "ns/new").push(blob.descriptor, blob.open())
    (put,) = guarded.requests("PUT")
    assert "?state=s&digest=sha256%3A" in put.path


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/cron.d/x",
        "sha256:" + "A" * 64,
        "md5:" + "0" * 32,
    ],
)
def test_digests_of_headers_are_checked(
    guarded: RegistryServer, store: RegistryStore, digest: str
) -> None:
    """A digest that breaks the grammar is not used (CVE-2024-3727)."""
    guarded.fail("HEAD", headers={"Docker-Content-Digest": digest}, times=None)
    with pytest.raises(errors.InvalidContent, match="invalid digest"):
        store.resolve("latest")


def test_another_digest_than_asked(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """A registry that answers with something else is not believed."""
    wrong = content.image("other").descriptor.digest
    guarded.fail("HEAD", headers={"Docker-Content-Digest": wrong}, times=None)
    with pytest.raises(errors.DigestMismatch):
        store.resolve(IMAGE.descriptor.digest)


@pytest.mark.parametrize(
    "reference", ["latest", IMAGE.descriptor.digest], ids=["tag", "digest"]
)
def test_manifests_without_head_are_verified(
    guarded: RegistryServer, store: RegistryStore, reference: str
) -> None:
    """A manifest resolved by GET is hashed before it is believed."""
    guarded.behaviour.head = False
    guarded.fail("GET", "/manifests/", corrupt=2, times=None)
    with pytest.raises(errors.DigestMismatch):
        store.resolve(reference)


def test_manifest_types_are_compared(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """A type that is not the manifest's own is refused (CVE-2021-41190)."""
    guarded.behaviour.head = False
    kind = "application/vnd.oci.image.index.v1+json"
    guarded.fail("GET", "/manifests/", headers={"Content-Type": kind})
    with pytest.raises(errors.InvalidContent, match="was served as"):
        store.resolve("latest")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", None])
def test_vague_manifest_types(
    guarded: RegistryServer, store: RegistryStore, kind: str | None
) -> None:
    """Where the server does not know the type, the manifest says it."""
    guarded.fail(
        path="/manifests/", headers={"Content-Type": kind}, times=None
    )
    assert store.resolve("latest") == IMAGE.descriptor


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"mediaType": 7}'])
def test_what_is_no_manifest(
    guarded: RegistryServer, store: RegistryStore, body: bytes
) -> None:
    """A page that is no manifest is not resolved."""
    headers = {"Content-Type": "text/html", "Docker-Content-Digest": None}
    guarded.fail(path="/manifests/", headers=headers, body=body, times=None)
    with pytest.raises(errors.InvalidContent):
        store.resolve("latest")


def test_huge_manifests_are_not_read(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """Reading ends after four megabytes (CVE-2020-1702)."""
    guarded.behaviour.head = False
    guarded.fail("GET", "/manifests/", body=b" " * (5 << 20), times=None)
    with pytest.raises(errors.ServerFault, match="over 4194304 bytes"):
        store.resolve("latest")


def test_huge_manifests_are_not_sent(trusted: RegistryClient) -> None:
    """Nor are such sent; nothing is read for it."""
    huge = Descriptor(
        IMAGE.descriptor.media_type, IMAGE.descriptor.digest, 5 << 20
    )
    with pytest.raises(errors.SizeMismatch):
        trusted.store("127.0.0.1:1", "ns/x").push(huge, BLOB.open())


def test_lying_sizes_allocate_nothing(store: RegistryStore) -> None:
    """A size of exabytes takes no memory (GHSA-f36w-mj3v-6jqv)."""
    lying = Descriptor(
        BLOB.descriptor.media_type, BLOB.descriptor.digest, 1 << 62
    )
    with pytest.raises(errors.SizeMismatch):
        store.fetch(lying)


def test_compression_is_not_undone(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """A blob that is compressed on the way is refused, at once."""
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(BLOB.data)
    guarded.fail("GET", "/blobs/", body=body, headers=headers, times=None)
    with pytest.raises(errors.ServerFault, match="Encoding: 'gzip'") as told:
        store.fetch(BLOB.descriptor)
    assert not told.value.temporary
    request = guarded.requests("GET", "/blobs/")[-1]
    assert request.headers["Accept-Encoding"] == "identity"


def test_error_pages_are_bounded_and_plain(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """Messages of the registry become one short line."""
    text = "first\\nsecond\\u001b[31m" + "x" * 500
    body = f'{{"errors": [{{"code": "X", "message": "{text}"}}]}}'
    guarded.fail("GET", "/blobs/", status=404, body=body.encode(), times=None)
    with pytest.raises(errors.NotFound) as caught:
        store.fetch(BLOB.descriptor)
    assert "first second [31mxxx" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("gate", [Basic("me", "pw"), Bearer("me", "pw")])
def test_quoted_credentials(
    make_client: Callable[..., RegistryClient], gate: Basic | Bearer
) -> None:
    """Gateways of AWS quote an Authorization that they do not understand."""
    with RegistryServer(gate=gate) as server:
        known = Credentials({server.host: ("me", "pw")})
        store = make_client(Hosts(credentials=known)).store(server.host, "a")
        with pytest.raises(errors.NotFound):
            store.resolve("1")
        sent = server.requests("GET", "/manifests/")[-1]
        credentials = sent.headers["Authorization"].partition(" ")[2]
        body = json.dumps({"message": f"'{credentials}' not a valid pair"})
        server.fail("GET", "/blobs/", status=403, body=body.encode())
        with pytest.raises(errors.AccessDenied) as caught:
            store.fetch(BLOB.descriptor)
    assert "'***' not a valid pair" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"details": "wrong password"}',
        b'{"error": "x", "error_description": "wrong password"}',
        b'{"message": "wrong password"}',
        b'{"errors": [], "error": "wrong password"}',
        b'{"errors": ["wrong password"], "displayMessage": "x"}',
        b'{"error": {"code": "X", "message": "wrong password"}}',
        b'{"title": "Forbidden", "detail": "wrong password"}',
        b'{"errors": [{"code": "UNKNOWN", "message": "unknown error",'
        b' "detail": "wrong password"}]}',
        b'{"code": 7, "message": "wrong password", "details": []}',
        b'<?xml version="1.0"?><Error xmlns="http://s3.example/">'
        b"<Code>AccessDenied</Code>"
        b"<Message>&quot;wrong password&#34;</Message></Error>",
    ],
)
def test_reasons_in_other_forms(
    guarded: RegistryServer, store: RegistryStore, body: bytes
) -> None:
    """Token servers and gateways tell their reasons in other forms."""
    guarded.fail("GET", "/blobs/", status=403, body=body, times=None)
    with pytest.raises(errors.AccessDenied, match=r': "?wrong password"? \('):
        store.fetch(BLOB.descriptor)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"errors": []}', b'{"errors": [7]}', b"7" * 70_000],
)
def test_odd_error_pages(
    guarded: RegistryServer, store: RegistryStore, body: bytes
) -> None:
    """Any page may come with an error."""
    guarded.fail("GET", "/blobs/", status=404, body=body, times=None)
    with pytest.raises(errors.NotFound, match="blob unknown"):
        store.fetch(BLOB.descriptor)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "DIGEST_INVALID", errors.DigestMismatch),
        (400, "SIZE_INVALID", errors.SizeMismatch),
        (507, "", errors.NoSpace),
        (413, "", errors.ServerFault),
    ],
)
def test_refused_uploads(
    guarded: RegistryServer,
    trusted: RegistryClient,
    status: int,
    code: str,
    expected: type[Exception],
) -> None:
    """A refused upload raises the error that fits the registry's answer."""
    body = f'{{"errors": [{{"code": "{code}"}}]}}'.encode()
    guarded.fail("PUT", status=status, body=body, times=None)
    blob = content.blob("new")
    with pytest.raises(expected):
        push(trusted.store(guarded.host, "ns/new"), blob)


@pytest.mark.parametrize(
    "reason",
    [
        "Quota has been exceeded on namespace",
        "it would exceed the configured upper limit of 10.0 MiB",
        # Messages leave out the middle of long reasons.
        f"{'x' * 150} quota of the project is exceeded {'x' * 150}",
    ],
)
def test_quotas(
    guarded: RegistryServer, trusted: RegistryClient, reason: str
) -> None:
    """A quota that is used up is no lack of permissions, nor is a login
    suspected.
    """
    entry = {"code": "DENIED", "message": reason}
    body = json.dumps({"errors": [entry]}).encode()
    guarded.fail("PUT", status=403, body=body, times=None)
    blob = content.blob("new")
    with pytest.raises(errors.NoSpace, match=reason[:20]) as caught:
        push(trusted.store(guarded.host, "ns/new"), blob)
    assert "credentials" not in str(caught.value.hint)


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [("GET", 403, errors.AccessDenied), ("PUT", 500, errors.ServerFault)],
)
def test_other_mentions_of_quotas(
    guarded: RegistryServer,
    trusted: RegistryClient,
    method: str,
    status: int,
    expected: type[errors.StoreError],
) -> None:
    """Reads use no space, and a registry that fails has decided nothing."""
    entry = {"code": "DENIED", "message": "quota exceeded"}
    body = json.dumps({"errors": [entry]}).encode()
    guarded.fail(method, status=status, body=body, times=None)
    store = trusted.store(guarded.host, "ns/new")
    blob = content.blob("new")
    with pytest.raises(expected, match="quota exceeded") as caught:
        store.fetch(blob.descriptor) if method == "GET" else push(store, blob)
    assert type(caught.value) is expected


def test_netrc_is_not_read(
    guarded: RegistryServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Credentials of other programs are not sent unasked."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password Zz9Secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.AccessDenied):
        make_client().store(guarded.host, "ns/name").resolve("latest")
    assert not any("Authorization" in r.headers for r in guarded.log)


def test_cookies_are_not_kept(
    guarded: RegistryServer, store: RegistryStore
) -> None:
    """A registry cannot mark its clients."""
    guarded.fail("HEAD", headers={"Set-Cookie": "a=b"}, times=None)
    store.resolve("latest")
    store.resolve("latest")
    assert "Cookie" not in guarded.log[-1].headers


def test_names_are_checked_before_anything_is_asked(
    guarded: RegistryServer, trusted: RegistryClient
) -> None:
    """A name that breaks the grammar never becomes a URL."""
    store = trusted.store(guarded.host, "ns/name")
    for work in (
        lambda: store.resolve("../../x"),
        lambda: store.tag(IMAGE.descriptor, "a/b"),
        lambda: store.mount(BLOB.descriptor, "../x"),
        lambda: trusted.store(guarded.host, "../x"),
        lambda: trusted.store("host/path", "x"),
    ):
        with pytest.raises(errors.InvalidReference):
            work()
    assert not guarded.log


def test_nothing_secret_is_logged(
    guarded: RegistryServer,
    other: RegistryServer,
    store: RegistryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the highest verbosity no password and no token is seen."""
    caplog.set_level(logging.DEBUG)
    guarded.gate = Bearer("me", PASSWORD)
    store.resolve("latest")
    token = guarded.log[-1].headers["Authorization"].removeprefix("Bearer ")
    for secret in (PASSWORD, "bWU6Wno5U2VjcmV0", token):
        assert secret not in caplog.text


def test_signed_urls_are_not_shown(
    guarded: RegistryServer,
    other: RegistryServer,
    store: RegistryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A signature in a redirect's query is a secret, too."""
    caplog.set_level(logging.DEBUG)
    guarded.fail(
        "GET",
        "/blobs/",
        status=307,
        headers={"Location": f"{other.url}/x?X-Signature={PASSWORD}"},
    )
    with pytest.raises(errors.NotFound) as caught:
        store.fetch(BLOB.descriptor)
    assert other.requests("GET", PASSWORD)
    assert PASSWORD not in f"{caught.value} {caplog.text}"
    assert f"GET {other.url}/x: 404" in caplog.text


def test_other_log_records_stay_as_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Other log records of urllib3 are not touched."""
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger("urllib3.connectionpool")
    log.debug("%(what)s", {"what": "why?"})
    log.debug("%d of %s", 7, "what?")
    assert caplog.messages == ["why?", "7 of what"]
