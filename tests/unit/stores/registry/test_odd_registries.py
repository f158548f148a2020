"""Behaviour of real registries that the specification does not describe."""

from __future__ import annotations

import gzip
import json
import pathlib
import ssl
import threading
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.http import transport
from imageprep_client.observer import Observer
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry.auth import authenticator as auth
from imageprep_client.stores.registry.auth import challenges, tokens
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints import registries_conf
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.gate import Basic, Bearer
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.testing.streams import push, put
from tests.once import ONE_ATTEMPT

MakeClient = Callable[..., RegistryClient]
IMAGE = content.image("odd")
BLOB = IMAGE.parts[0]
REFUSALS = [400, 401, 403, 404, 405, 501]
FAILURES = [204, *REFUSALS, 500, 502]


@pytest.fixture
def filled(server: RegistryServer) -> RegistryServer:
    """A registry with the image, tagged ``latest``."""
    put(server.content.store("ns/name"), IMAGE, "latest")
    return server


# --- HEAD


@pytest.mark.parametrize("status", FAILURES)
def test_head_is_refused(
    filled: RegistryServer, store: RegistryStore, status: int
) -> None:
    """GET decides what is there where HEAD is refused."""
    filled.fail("HEAD", status=status, times=None)
    assert store.resolve("latest") == IMAGE.descriptor
    assert store.exists(BLOB.descriptor)
    assert not store.exists(content.blob("none").descriptor)


@pytest.mark.parametrize("status", [200, 204])
def test_opened_uploads(
    server: RegistryServer, destination: RegistryStore, status: int
) -> None:
    """An upload may be opened with another status of success."""
    place = {"Location": "/v2/ns/name/blobs/uploads/1"}
    server.fail("POST", "uploads/$", status=status, headers=place)
    server.fail("PUT", "uploads/1", status=201)
    store_suite.push(destination, BLOB)
    assert server.requests("PUT", "uploads/1")


@pytest.mark.parametrize("status", FAILURES)
def test_head_is_refused_after_a_push(
    server: RegistryServer, destination: RegistryStore, status: int
) -> None:
    """So it is after a push whose answer has no digest."""
    no_digest = {"Docker-Content-Digest": None}
    server.fail("PUT", headers=no_digest, times=None)
    server.fail("HEAD", status=status, times=None)
    store_suite.push(destination, *IMAGE.parts)
    with IMAGE.manifest.open() as stream:
        destination.push_tagged(IMAGE.descriptor, stream, "1")
    assert server.content.store("ns/name").resolve("1") == IMAGE.descriptor


def test_believed_heads(filled: RegistryServer, store: RegistryStore) -> None:
    """Where HEAD was seen to work, its 404 needs no GET."""
    store.resolve("latest")
    with pytest.raises(errors.NotFound):
        store.resolve("none")
    assert not filled.requests("GET", "/manifests/none")


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_storage_refuses_head(
    filled: RegistryServer, client: RegistryClient, status: int
) -> None:
    """A URL that is signed for GET only is not asked with HEAD."""
    with RegistryServer(filled.content) as storage:
        storage.fail("HEAD", status=status, times=None)
        filled.behaviour.redirect_blobs = storage.url
        for open_store in (client.store, client.destination):
            assert open_store(filled.host, "ns/name").exists(BLOB.descriptor)
        assert not storage.requests("HEAD")


def test_heads_that_are_of_no_use(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """Where HEAD is redirected elsewhere, GET alone looks for other blobs."""
    with RegistryServer(filled.content) as storage:
        filled.behaviour.redirect_blobs = storage.url
        for part in IMAGE.parts:
            store = client.destination(filled.host, "ns/name")
            assert store.exists(part.descriptor)
        assert not store.exists(content.blob("none").descriptor)
        assert len(filled.requests("HEAD")) == 1
        assert len(filled.requests("GET", "/blobs/")) == len(IMAGE.parts) + 1


def test_manifests_elsewhere(client: RegistryClient) -> None:
    """A manifest whose HEAD is redirected elsewhere is read there."""
    with RegistryServer() as storage, RegistryServer() as front:
        store = storage.content.store("ns/name")
        put(store, IMAGE, "latest")
        storage.fail("HEAD", status=403, times=None)
        place = {"Location": f"{storage.url}/v2/ns/name/manifests/latest"}
        front.fail(path="/manifests/", status=307, headers=place, times=None)
        found = client.store(front.host, "ns/name").resolve("latest")
        assert found == IMAGE.descriptor


# --- destinations


@pytest.mark.parametrize("status", REFUSALS)
def test_destinations_that_deny_what_is_absent(
    server: RegistryServer, destination: RegistryStore, status: int
) -> None:
    """Content that a destination lets nobody look up counts as absent."""
    for method in ("HEAD", "GET"):
        server.fail(method, "/ns/name/", status=status, times=None)
    for find in (destination.resolve, destination.resolve_ahead):
        with pytest.raises(errors.NotFound):
            find("latest")
    assert not destination.exists(BLOB.descriptor)
    store_suite.push(destination, BLOB)
    assert server.content.store("ns/name").exists(BLOB.descriptor)


def test_bad_logins_are_told(make_client: MakeClient) -> None:
    """A wrong password is told before anything is pushed."""
    with RegistryServer(gate=Basic("me", "pw")) as server:
        known = Credentials({server.host: ("me", "other")})
        client = make_client(Hosts(credentials=known))
        with pytest.raises(errors.AccessDenied):
            client.destination(server.host, "ns/name").resolve("latest")


def test_destinations_are_asked_to_write(make_client: MakeClient) -> None:
    """The first token for a destination is for writing, too."""
    gate = Bearer("me", "pw")
    with RegistryServer(gate=gate) as server:
        known = Credentials({server.host: ("me", "pw")})
        client = make_client(Hosts(credentials=known))
        with pytest.raises(errors.NotFound):
            client.destination(server.host, "ns/name").resolve("latest")
        (token,) = server.requests("GET", "/token")
        assert "pull%2Cpush" in token.path


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_answers_to_a_push(
    server: RegistryServer, destination: RegistryStore, status: int
) -> None:
    """Any success of a push is one."""
    digest = {"Docker-Content-Digest": IMAGE.descriptor.digest}
    server.fail("PUT", status=status, headers=digest, times=None, body=b"")
    store_suite.push(destination, BLOB)
    with IMAGE.manifest.open() as stream:
        destination.push_tagged(IMAGE.descriptor, stream, "1")


IMMUTABLE = json.dumps({"errors": [{"code": "TAG_INVALID"}]}).encode()


def test_tags_that_exist_for_good(
    filled: RegistryServer, destination: RegistryStore
) -> None:
    """An immutable tag that names the same image is no failure."""
    filled.fail("PUT", status=400, body=IMMUTABLE, times=None)
    with IMAGE.manifest.open() as stream:
        destination.push_tagged(IMAGE.descriptor, stream, "latest")
    destination.tag(IMAGE.descriptor, "latest")
    other = content.image("another")
    with other.manifest.open() as stream, pytest.raises(errors.Refused):
        destination.push_tagged(other.descriptor, stream, "latest")
    with IMAGE.manifest.open() as stream, pytest.raises(errors.Refused):
        destination.push_tagged(IMAGE.descriptor, stream, "new")


def test_empty_digest(filled: RegistryServer, store: RegistryStore) -> None:
    """An empty Docker-Content-Digest is none."""
    empty = {"Docker-Content-Digest": ""}
    filled.fail(headers=empty, times=None)
    assert store.resolve("latest") == IMAGE.descriptor


def test_partial_content_that_is_whole(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """A cache may answer 206 to a request without a range."""
    data = {"/manifests/": IMAGE.manifest.data, "/blobs/": BLOB.data}
    for path, body in data.items():
        filled.fail("GET", path, status=206, body=body, times=None)
    store = client.store(filled.host, "ns/name")
    for piece in (IMAGE.manifest, BLOB):
        with store.fetch(piece.descriptor) as got:
            assert got.read() == piece.data
    by_get = client.store(filled.host, "ns/name").resolve_ahead("latest")
    assert by_get == IMAGE.descriptor


def test_partial_content(filled: RegistryServer, store: RegistryStore) -> None:
    """A part is not taken for the whole."""
    part = BLOB.data[:-1]
    filled.fail("GET", "/blobs/", status=206, body=part)
    with pytest.raises(errors.SizeMismatch):
        store.fetch(BLOB.descriptor)


# --- lists


@pytest.mark.parametrize("most", [0, 100, 999])
@pytest.mark.parametrize("status", [400, 413, 416, 422])
def test_page_sizes(
    filled: RegistryServer, client: RegistryClient, most: int, status: int
) -> None:
    """A page size that is refused is reduced, and left out in the end."""
    refused = [f"n={n}(&|$)" for n in (1000, 100) if n > most]
    for path in refused:
        filled.fail(path=path, status=status, times=None)
    assert list(client.store(filled.host, "ns/name").tags()) == ["latest"]
    assert client.catalog(filled.host).repositories() == ["ns/name"]


@pytest.mark.parametrize(
    "link",
    [
        "/repository/proxy/v2/ns/name/tags/list?n=2&last=b",
        "/v2/name/tags/list?n=2&last=b",
        "/v2/ns/name/tags/list?x=again",
        "http://127.0.0.2:1/v2/ns/name/tags/list?n=2&last=b",
        "http://[bad/",
    ],
)
def test_links_that_lead_elsewhere(
    filled: RegistryServer, client: RegistryClient, link: str
) -> None:
    """A link of no use is replaced by the last name of the page."""
    store = filled.content.store("ns/name")
    for tag in "abcde":
        store.tag(IMAGE.descriptor, tag)
    filled.behaviour.page = 2
    wrong = {"Link": f'<{link}>; rel="next"'}
    first = "tags/list[?](n=1000|x=again)$"
    filled.fail(path=first, headers=wrong, times=None)
    filled.fail(path="^/repository/", status=400, times=None)
    filled.fail(path="^/v2/name/", status=404, times=None)
    tags = list(client.store(filled.host, "ns/name").tags())
    assert tags == [*"abcde", "latest"]


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "; rel=NEXT",
        "; REL='next'; title=\"x\"",
        '; rel="last next"',
        '; title="a, \\"b\\"; rel=prev" ; rel = next',
        '; rel=next, </v2/ns/name/tags/list>; rel="first"',
        ', </v2/ns/name/tags/list?last=a>; rel="next"',
    ],
)
def test_forms_of_links(
    filled: RegistryServer, client: RegistryClient, parameters: str
) -> None:
    """A link to the next page has any form, or is the only one."""
    link = {"Link": f"< /v2/ns/name/tags/list?last=a >{parameters}"}
    page = {"name": "ns/name", "tags": ["a"]}
    filled.fail(path="/tags/", body=json.dumps(page).encode(), headers=link)
    assert list(client.store(filled.host, "ns/name").tags()) == ["a", "latest"]


def test_absent_pages_are_refusals(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """A list whose next page is not found is not taken for absent."""
    absent = {"Link": '</v2/name/tags/list>; rel="next"'}
    filled.fail(path="^/v2/name/", status=404, times=None)
    filled.fail(path="last=", status=404, times=None)
    filled.fail(path="/tags/", headers=absent, times=None)
    with pytest.raises(errors.Refused, match="404"):
        client.store(filled.host, "ns/name").tags()


def test_useless_links_are_refusals(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """Where the last name is ignored, too, the list is refused."""
    wrong = {"Link": '<http://127.0.0.2:1/>; rel="next"'}
    page = b'{"tags": ["a", "b"]}'
    filled.fail(path="/tags/", headers=wrong, body=page, times=None)
    with pytest.raises(errors.Refused, match="on another host"):
        client.store(filled.host, "ns/name").tags()


@pytest.mark.parametrize(
    "names", [["ns/a"], ["ns/a", "ns/b"], ["ns/a-b", "ns/a"]]
)
def test_catalog_that_never_says_its_end(
    server: RegistryServer, client: RegistryClient, names: list[str]
) -> None:
    """The catalog of Cloudflare's registry links to a host without its port.

    The links have no angle brackets and come with every page. A page after
    the last name has that name again, and ``ns/a-b`` comes before ``ns/a``.
    """
    link = {"Link": "http://127.0.0.1/v2/_catalog?n=1000&last=x; rel=next"}
    rest = [name for name in names if name >= names[-1]]
    for last, page in (("", names), (f"&last={names[-1]}", rest)):
        server.fail(
            path=f"n=1000{last.replace('/', '%2F')}$",
            headers=link,
            body=json.dumps({"repositories": page}).encode(),
            times=None,
        )
    assert client.catalog(server.host).repositories() == sorted(names)
    assert len(server.requests("GET", "_catalog")) == 2


def test_links_without_brackets(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """Cloudflare's registry writes links so; its lists are read to the end."""
    filled.behaviour.page = 2
    store = filled.content.store("ns/name")
    for tag in "abcde":
        store.tag(IMAGE.descriptor, tag)
    link = f"{filled.url}/v2/ns/name/tags/list?n=2&last=b; rel=next"
    filled.fail(path="n=1000$", headers={"Link": link})
    tags = list(client.store(filled.host, "ns/name").tags())
    assert tags == [*"abcde", "latest"]


def test_mount_from_the_same_repository_opens_uploads(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """Cloudflare's registry mounts nothing so; HEAD finds large blobs."""
    filled.behaviour.mounts_own = False
    target = client.destination(filled.host, "ns/name")
    held = filled.content.store("ns/name")
    large = [content.blob(seed, 200_000) for seed in range(3)]
    push(held, *large[:2])
    found = [target.begin(piece.descriptor) for piece in large]
    assert found == [True, True, False]
    assert len(filled.requests("POST", "mount=")) == 1
    assert not filled.uploads


def test_mount_from_the_same_repository_is_trusted(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """Once one found a blob, HEAD is not asked as well."""
    target = client.destination(filled.host, "ns/name")
    large = [content.blob(seed, 200_000) for seed in range(3)]
    push(filled.content.store("ns/name"), large[0])
    found = [target.begin(piece.descriptor) for piece in large]
    assert found == [True, False, False]
    assert not filled.requests("HEAD", "/blobs/")


def test_head_is_asked_for_the_first_blobs_alone(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """An empty registry gets few requests more."""
    target = client.destination(filled.host, "ns/name")
    for seed in range(20):
        assert not target.begin(content.blob(seed, 200_000).descriptor)
    assert len(filled.requests("HEAD", "/blobs/")) == 8


# --- compression


def test_compressed_manifests(
    filled: RegistryServer, store: RegistryStore
) -> None:
    """A manifest that comes compressed is unpacked."""
    filled.fail(
        path="/manifests/",
        body=gzip.compress(IMAGE.manifest.data, mtime=0),
        headers={"Content-Encoding": "gzip"},
        times=None,
    )
    assert store.resolve("latest") == IMAGE.descriptor
    with store.fetch(IMAGE.descriptor) as stream:
        assert stream.read() == IMAGE.manifest.data


@pytest.mark.parametrize(
    ("body", "coding", "message"),
    [
        (gzip.compress(b" " * (5 << 20)), "gzip", "over 4194304 bytes"),
        (gzip.compress(b"{}")[:-9], "gzip", "incomplete gzip"),
        (b"{}", "gzip", "damaged gzip"),
        (b"{}", "br", "Content-Encoding: 'br'"),
    ],
    ids=["bomb", "incomplete", "damaged", "unknown"],
)
def test_compression_has_bounds(
    filled: RegistryServer,
    client: RegistryClient,
    body: bytes,
    coding: str,
    message: str,
) -> None:
    """No bomb is unpacked, and nothing that is broken or unknown."""
    headers = {"Content-Encoding": coding}
    filled.fail(path="/tags/", body=body, headers=headers, times=None)
    with pytest.raises(errors.ServerFault, match=message):
        client.store(filled.host, "ns/name").tags()


@pytest.mark.parametrize("coding", ["gzip", "aws-chunked"])
def test_codings_of_storage(
    filled: RegistryServer, store: RegistryStore, coding: str
) -> None:
    """A layer as it is stored has a coding that storage keeps for it."""
    headers = {"Content-Encoding": coding}
    filled.fail("GET", "/blobs/", headers=headers, times=None)
    with store.fetch(BLOB.descriptor) as stream:
        assert stream.read() == BLOB.data


# --- tokens


class PerRepository(Bearer):
    """Each repository has a token server, which refuses other scopes."""

    def challenge(self, base: str, scope: str) -> str:
        name = scope.split(":")[1]
        text = f'Bearer realm="{base}/token?of={name}",service="x"'
        return f'{text},scope="{scope}"'


@pytest.fixture
def parted() -> Iterator[RegistryServer]:
    """A registry whose repositories have token servers of their own."""
    with RegistryServer(gate=PerRepository(anonymous=True)) as server:
        for name in ("ns/a", "ns/b"):
            store = server.content.store(name)
            put(store, IMAGE, "1")
        for name, other in ("ab", "ba"):
            path = f"/token[?]of=ns/{name}.*scope=repository%3Ans%2F{other}"
            server.fail(path=path, status=403, times=None)
        yield server


def test_challenges_by_repository(
    parted: RegistryServer, client: RegistryClient
) -> None:
    """A repository gets its tokens where its own challenge says."""
    for name in ("ns/a", "ns/b", "ns/a"):
        assert client.store(parted.host, name).resolve("1")


@pytest.mark.parametrize(
    ("ours", "challenge", "expected"),
    [
        (["repository:a:pull"], "", ["repository:a:pull"]),
        (["repository:a:pull,push"], "repository:a:pull", None),
        ([], "repository:a:delete", ["repository:a:delete"]),
        ([], "repository:a:*", ["repository:a:*"]),
        (["repository:a:pull"], "repository:a:*", ["repository:a:*"]),
        (
            ["repository:a:pull,push", "repository:b:pull"],
            "repository:a:pull,push",
            None,
        ),
        (
            ["repository:a:pull"],
            "repository:p/a:pull repository:c:pull",
            ["repository:a:pull", "repository:p/a:pull", "repository:c:pull"],
        ),
    ],
)
def test_scopes_of_challenges(
    ours: list[str], challenge: str, expected: list[str] | None
) -> None:
    """A token allows what the registry wants, and what is known to be due."""
    wanted = ours if expected is None else expected
    assert list(challenges.wanted_scopes(ours, challenge)) == wanted


def token_headers(
    realm_user: tuple[str, str] | None, token_servers: dict[str, str]
) -> object:
    """The Authorization sent to the token server on another site."""
    sent: list[object] = []

    class Answer:
        status = 200

        def body(self, limit: int) -> bytes:
            return json.dumps({"token": "t"}).encode()

    def send(
        url: str, headers: dict[str, str], body: bytes | None = None
    ) -> Answer:
        sent.append(headers.get("Authorization"))
        return Answer()

    known = {"registry.example.io": ("me", "pw")}
    if realm_user:
        known["gitlab.example.com"] = realm_user
    keeper = auth.Authenticator(
        "https://registry.example.io",
        "registry.example.io",
        Credentials(known),
        send,  # type: ignore[arg-type] # it answers what is needed
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
        [*filter(None, [token_servers.get("registry.example.io")])],
    )
    realm = "https://gitlab.example.com/jwt/auth"
    keeper.answer(f'Bearer realm="{realm}"', "ns/x", ["s"], None)
    if sent == [None]:
        assert "--token-server" in keeper.explain("ns/x")
    return sent


BASIC = Credentials({"a.io": ("me", "pw")}).find("a.io").basic


@pytest.mark.parametrize(
    ("realm_user", "token_servers", "sent"),
    [
        (None, {}, [None]),
        (("me", "pw"), {}, [BASIC]),
        (("me", "other"), {}, [None]),
        (("other", "pw"), {}, [None]),
        (
            None,
            {"registry.example.io": "https://gitlab.example.com/jwt/auth"},
            [BASIC],
        ),
        (None, {"registry.example.io": "https://other.example.com/"}, [None]),
        (None, {"other.example.io": "https://gitlab.example.com/"}, [None]),
    ],
)
def test_token_servers_on_other_sites(
    realm_user: tuple[str, str] | None,
    token_servers: dict[str, str],
    sent: list[object],
) -> None:
    """A token server elsewhere gets the password where the user says so."""
    assert token_headers(realm_user, token_servers) == sent


TOKEN_SERVER = "https://gitlab.example.com/jwt/auth"


def may_have(hosts: Hosts, known: Credentials, host: str) -> bool:
    """Whether the token server on another site gets the credentials."""
    keeper = auth.Authenticator(
        f"https://{host}",
        host,
        known,
        mock.create_autospec(tokens.SendTokenRequest, instance=True),
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
        hosts.token_servers(host),
    )
    return keeper._may_have(TOKEN_SERVER, known.find(host), "ns/x")


@pytest.mark.parametrize(
    "table",
    [
        'location = "reg.example.io"\ntoken-server = "{}"',
        'prefix = "x.io"\nlocation = "reg.example.io/a"\ntoken-server = "{}"',
        'location = "x.io"\n[[registry.mirror]]\n'
        'location = "reg.example.io"\ntoken-server = "{}"',
    ],
)
def test_token_servers_in_registries_conf(
    tmp_path: pathlib.Path, table: str
) -> None:
    """A table of registries.conf names the token server of its registry."""
    path = tmp_path / "registries.conf"
    known = Credentials({"reg.example.io": ("me", "pw")})
    environment = {"CONTAINERS_REGISTRIES_CONF": str(path)}
    for url, expected in ((TOKEN_SERVER, True), ("https://b.org/", False)):
        path.write_text(f"[[registry]]\n{table.format(url)}\n")
        hosts = Hosts(
            registries=registries_conf.load(environment, tmp_path, tmp_path)
        )
        assert may_have(hosts, known, "reg.example.io") is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [(TOKEN_SERVER, True), ("https://b.org/", False), ("", False)],
)
@pytest.mark.parametrize(
    "login", [{"auth": "bWU6cHc="}, {"identitytoken": "t"}]
)
def test_token_servers_in_authentication_files(
    tmp_path: pathlib.Path, login: dict[str, str], url: str, expected: bool
) -> None:
    """An authentication file names the token server of its registry."""
    path = tmp_path / "auth.json"
    entry = {**login, "tokenserver": url}
    path.write_text(json.dumps({"auths": {"reg.example.io": entry}}))
    known = Credentials(files=[path])
    assert may_have(Hosts(), known, "reg.example.io") is expected


@pytest.mark.parametrize("url", ["http://a.org/", "a.org", "https://[", 7])
def test_token_servers_need_tls(tmp_path: pathlib.Path, url: object) -> None:
    """A token server in a file that is no URL with TLS is an error."""
    path = tmp_path / "registries.conf"
    path.write_text(
        f'[[registry]]\nlocation = "a.io"\ntoken-server = {json.dumps(url)}\n'
    )
    environment = {"CONTAINERS_REGISTRIES_CONF": str(path)}
    with pytest.raises(
        errors.InvalidFile, match=r"registry\[0\].token-server"
    ):
        registries_conf.load(environment, tmp_path, tmp_path)
    path = tmp_path / "auth.json"
    entry = {"auth": "bWU6cHc=", "tokenserver": url}
    path.write_text(json.dumps({"auths": {"a.io": entry}}))
    with pytest.raises(errors.InvalidFile, match=r"auths.a.io.tokenserver"):
        Credentials(files=[path]).find("a.io")


# --- TLS and addresses


def test_authorities_of_company_tools() -> None:
    """No Python is stricter about authorities than OpenSSL is."""
    made = ssl.create_default_context()
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    with mock.patch.object(
        ssl, "create_default_context", autospec=True, return_value=made
    ):
        context = transport.make_context(transport.TLS())
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.168.24.7:5000", True),
        ("192.168.24.7", True),
        ("192.168.25.7:5000", False),
        ("[2001:db8::7]:5000", True),
        ("registry.example", False),
    ],
)
def test_networks(host: str, expected: bool) -> None:
    """Insecure registries may be given by their network."""
    hosts = Hosts(insecure=["192.168.24.1/24", "2001:db8::/64"])
    assert hosts.is_listed(host) is expected


# --- layers of non-distributable types


@pytest.mark.parametrize(
    "listed",
    [
        [
            {"code": "UNKNOWN", "message": "unknown error"},
            {"code": "UNKNOWN", "message": "unknown error", "detail": {}},
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"},
        ],
        [{"code": "UNKNOWN", "message": "invalid URL on layer"}],
    ],
)
def test_refused_urls(
    server: RegistryServer, destination: RegistryStore, listed: list[object]
) -> None:
    """A registry that refuses the URLs of a layer with 500 is asked once."""
    body = json.dumps({"errors": listed}).encode()
    server.fail("PUT", "/manifests/", status=500, body=body, times=None)
    store_suite.push(destination, *IMAGE.parts)
    with IMAGE.manifest.open() as stream, pytest.raises(errors.Refused):
        destination.push_tagged(IMAGE.descriptor, stream, "1")
    assert len(server.requests("PUT", "/manifests/")) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "MANIFEST_BLOB_UNKNOWN"),
        (404, "MANIFEST_BLOB_UNKNOWN"),
        (400, "BLOB_UNKNOWN"),
        (404, "MANIFEST_UNKNOWN"),
    ],
)
def test_parts_that_are_known_later(
    server: RegistryServer, destination: RegistryStore, status: int, code: str
) -> None:
    """A manifest is sent again where its parts are not known at once."""
    body = json.dumps({"errors": [{"code": code}]}).encode()
    server.fail("PUT", "/manifests/", status=status, body=body, times=3)
    store_suite.push(destination, *IMAGE.parts)
    with IMAGE.manifest.open() as stream:
        destination.push_tagged(IMAGE.descriptor, stream, "1")
    assert destination.resolve("1") == IMAGE.descriptor


# --- referrers, digests and locations that are a little off


def test_bare_digests(filled: RegistryServer, store: RegistryStore) -> None:
    """A digest without its algorithm is a SHA-256 digest."""
    bare = IMAGE.descriptor.digest.removeprefix("sha256:")
    headers = {"Docker-Content-Digest": bare}
    filled.fail(headers=headers, times=None)
    assert store.resolve("latest") == IMAGE.descriptor


def test_tags_that_are_taken_for_digests(client: RegistryClient) -> None:
    """GitLab answers the tag of a list of referrers with the image itself."""
    behaviour = Behaviour(referrers=False)
    index = content.index({"linux/amd64": IMAGE})
    with RegistryServer(behaviour=behaviour) as server:
        held = server.content.store("ns/name")
        store_suite.store_all(held, index)
        digest = index.descriptor.digest
        held.tag(index.descriptor, digest.replace(":", "-"))
        store = client.store(server.host, "ns/name")
        assert store.referrers(index.descriptor) == []


def test_wrong_sizes_of_referrers(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A manifest that a list has with a wrong size is read all the same."""
    artifact = content.artifact("signature", IMAGE.descriptor)
    held = server.content.store("ns/name")
    store_suite.store_all(held, IMAGE, artifact)
    entry = {**artifact.descriptor.to_json(), "size": 5}
    index = {"schemaVersion": 2, "manifests": [entry]}
    server.fail("GET", "/referrers/", body=json.dumps(index).encode())
    (found,) = store.referrers(IMAGE.descriptor)
    assert store_suite.read(store, found) == artifact.manifest.data


@pytest.mark.parametrize("status", [402, 406, 409, 410, 422, 451])
def test_reasons_of_refused_heads(
    filled: RegistryServer, client: RegistryClient, status: int
) -> None:
    """The reason of a refusal is that of GET, as HEAD has no body."""
    body = json.dumps({"errors": [{"code": "X", "message": "pay first"}]})
    for method in ("HEAD", "GET"):
        filled.fail(
            method,
            "/manifests/",
            status=status,
            body=b"" if method == "HEAD" else body.encode(),
            times=None,
        )
    with pytest.raises(errors.Refused, match="pay first"):
        client.store(filled.host, "ns/name").resolve("latest")


def test_statuses_without_a_reason(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """A status without a reason is told by its name."""
    filled.fail(path="/manifests/", status=402, times=None)
    with pytest.raises(errors.Refused, match=": payment required \\("):
        client.store(filled.host, "ns/name").resolve("latest")


def test_redirected_uploads(
    server: RegistryServer, client: RegistryClient
) -> None:
    """The address that a registry has moved to is told, without its query."""
    place = {"Location": "https://new.example.com/v2/?secret=1"}
    server.fail("POST", status=301, headers=place, times=None)
    with pytest.raises(errors.ServerFault) as caught:
        store_suite.push(client.destination(server.host, "ns/name"), BLOB)
    assert "redirected to https://new.example.com/v2/ " in str(caught.value)
    assert "name the registry by" in str(caught.value.hint)


def test_redirects_in_a_circle(
    filled: RegistryServer, client: RegistryClient
) -> None:
    """They are told at once."""
    place = "/v2/ns/name/manifests/latest"
    filled.fail(
        path="/manifests/", status=302, headers={"Location": place}, times=None
    )
    with pytest.raises(errors.ServerFault, match="over 5 redirects") as caught:
        client.store(filled.host, "ns/name").resolve("latest")
    assert not caught.value.temporary
    assert "circle" in str(caught.value.hint)


def test_pages_in_place_of_answers(
    filled: RegistryServer, store: RegistryStore
) -> None:
    """A page of a proxy that asks for a login is told as such."""
    filled.fail(
        status=200,
        body=b"<html>Login</html>",
        headers={"Content-Type": "text/html", "Docker-Content-Digest": ""},
        times=None,
    )
    for ask in (lambda: store.resolve("latest"), lambda: list(store.tags())):
        with pytest.raises(errors.StoreError) as caught:
            ask()
        assert "a web page" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("age", "cached"), [("7", True), ("0", False), ("", False), ("x", False)]
)
def test_absence_that_a_cache_remembers(
    server: RegistryServer, client: RegistryClient, age: str, cached: bool
) -> None:
    """A cache that kept an answer of 404 is named: the image may be there."""
    server.fail(status=404, headers={"Age": age}, times=None)
    with pytest.raises(errors.NotFound) as caught:
        client.store(server.host, "ns/name").resolve("1")
    assert ("a cache in front" in str(caught.value.hint)) is cached


def test_servers_that_say_why(
    server: RegistryServer, client: RegistryClient
) -> None:
    """The page of a web server that takes no request has the reason."""
    page = b"<html><head><title>400 No required SSL certificate</title>"
    server.fail(status=400, body=page, times=None)
    with pytest.raises(errors.ServerFault, match="no registry") as caught:
        client.store(server.host, "ns/name").resolve("1")
    assert "says: No required SSL certificate" in str(caught.value.hint)


def test_pages_with_a_reason(
    server: RegistryServer, client: RegistryClient
) -> None:
    """The page of a web server that refuses one request has the reason."""
    page = b"<html>\r\n<title>400 Request Header Too Large</title>\r\n"
    server.fail("POST", status=400, body=page, times=None)
    blob = content.blob("page")
    with pytest.raises(errors.Refused, match="Request Header Too Large"):
        push(client.destination(server.host, "ns/name"), blob)


def test_deletion_of_a_tag_without_access(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A lack of access is not taken for a registry that deletes no tags."""
    entry = {"code": "DENIED", "message": "no access"}
    body = json.dumps({"errors": [entry]}).encode()
    server.fail("DELETE", status=400, body=body, times=None)
    with pytest.raises(errors.AccessDenied, match="no access"):
        client.destination(server.host, "ns/name").untag("1")


def test_pages_that_refuse_a_login(make_client: MakeClient) -> None:
    """The credentials are told that a page refuses, for they may be wrong."""
    with RegistryServer(gate=Basic("me", "pw")) as server:
        known = Credentials({server.host: ("me", "pw")})
        store = make_client(Hosts(credentials=known)).store(server.host, "a")
        with pytest.raises(errors.NotFound):
            store.resolve("1")
        page = {"Content-Type": "text/html", "WWW-Authenticate": None}
        server.fail(status=401, headers=page, times=None)
        with pytest.raises(errors.AccessDenied) as caught:
            store.fetch(BLOB.descriptor)
    assert "the credentials of me" in str(caught.value.hint)


@pytest.mark.parametrize("status", [401, 403])
def test_pages_that_deny_access(
    server: RegistryServer, client: RegistryClient, status: int
) -> None:
    """No login helps where a web server in front of a registry refuses."""
    headers = {"Content-Type": "text/html"}
    page = b"<html><title>Forbidden</title>"
    server.fail(status=status, headers=headers, body=page, times=None)
    with pytest.raises(errors.AccessDenied) as caught:
        client.store(server.host, "ns/name").resolve("1")
    assert "the answer is a web page" in str(caught.value.hint)
    assert "podman login" not in str(caught.value.hint)
