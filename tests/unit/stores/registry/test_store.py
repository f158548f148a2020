"""The requests of a registry's store, and its reading of the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes, referrers
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.lists import listing
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, store_suite, streams
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put

MakeClient = Callable[..., RegistryClient]
IMAGE = content.image("store")
BLOB = IMAGE.parts[0]


@pytest.fixture(autouse=True)
def _image(server: RegistryServer) -> None:
    put(server.content.store("ns/name"), IMAGE, "latest")


def test_asks_nothing_before_it_is_used(
    server: RegistryServer, store: RegistryStore
) -> None:
    """Making a store is no request."""
    assert store.registry == server.host
    assert str(store) == f"{server.host}/ns/name"
    assert not server.log


def test_physical_registry(client: RegistryClient) -> None:
    """The registry is the host that serves it; equal names share a store."""
    store = client.store("docker.io", "ns/name")
    assert store.registry == "registry-1.docker.io"
    assert str(store) == "docker.io/ns/name"
    assert client.store("docker.io", "ns/name") is store


def test_wording(server: RegistryServer, client: RegistryClient) -> None:
    """Errors say the object, what happened, and the evidence."""
    with pytest.raises(errors.NotFound) as caught:
        client.destination(server.host, "ns/name").resolve("17.1")
    assert str(caught.value) == (
        f"{server.host}/ns/name:17.1: manifest unknown"
        f" (HEAD http://{server.host}/v2/ns/name/manifests/17.1 404)"
    )


def test_resolves_with_one_head(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A tag costs one HEAD that accepts every type."""
    store.resolve("latest")
    (request,) = server.requests(path="/manifests/")
    assert request.method == "HEAD"
    for kind in mediatypes.ACCEPT:
        assert kind in request.headers["Accept"]


@pytest.mark.parametrize(
    "missing", ["Docker-Content-Digest", "Content-Type", "Content-Length"]
)
def test_resolves_by_get_where_head_says_too_little(
    server: RegistryServer, store: RegistryStore, missing: str
) -> None:
    """A header missing from the answer to HEAD is replaced by the manifest."""
    server.fail("HEAD", headers={missing: None, "Connection": "close"})
    assert store.resolve("latest") == IMAGE.descriptor
    assert len(server.requests("GET", "/manifests/")) == 1


def test_digest_needs_no_header(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A request by digest needs no digest in the answer."""
    server.behaviour.digest_header = False
    assert store.resolve(IMAGE.descriptor.digest) == IMAGE.descriptor
    assert not server.requests("GET", "/manifests/")


def test_digest_of_another_algorithm(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A header in sha512 does not contradict sha256."""
    other = digests.of(IMAGE.manifest.data, "sha512")
    server.fail("HEAD", headers={"Docker-Content-Digest": other}, times=None)
    assert store.resolve(IMAGE.descriptor.digest) == IMAGE.descriptor
    assert store.resolve("latest").digest == other


def test_exists_without_head(
    server: RegistryServer, store: RegistryStore
) -> None:
    """Where HEAD is not answered, GET is."""
    server.behaviour.head = False
    assert store.exists(IMAGE.descriptor)
    assert not store.exists(content.image("other").descriptor)


def test_exists_compares_sizes(store: RegistryStore) -> None:
    """A blob that is short does not exist whole."""
    longer = dataclasses.replace(
        BLOB.descriptor, size=BLOB.descriptor.size + 1
    )
    assert not store.exists(longer)
    assert store.exists(BLOB.descriptor)


def test_tag_sends_what_was_pushed(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A manifest that was just pushed is tagged without a GET."""
    store = client.store(server.host, "ns/new")
    put(store, IMAGE, "new")
    assert not server.requests("GET", "/manifests/")


def test_manifests_are_fetched_once(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A GET of a manifest counts as a pull: there is one."""
    for _ in range(3):
        store_suite.read(store, IMAGE.descriptor)
    store.tag(IMAGE.descriptor, "again")
    assert len(server.requests("GET", "/manifests/")) == 1


def test_few_manifests_are_kept(
    server: RegistryServer, store: RegistryStore
) -> None:
    """The cache of manifests is bounded, in number and in size."""
    target = server.content.store("ns/name")
    images = [content.image(number, []) for number in range(20)]
    large = content.index(
        {"linux/amd64": images[0]}, annotations={"x": "y" * 300_000}
    )
    for image in (*images, large):
        store_suite.store_all(target, image)
        store_suite.read(store, image.descriptor)
    count = len(server.requests("GET", "/manifests/"))
    for image in (images[0], large, images[-1]):
        store_suite.read(store, image.descriptor)
    assert len(server.requests("GET", "/manifests/")) == count + 2


@pytest.mark.parametrize("is_gone", [False, True])
def test_failed_mount_opens_the_upload(
    server: RegistryServer, client: RegistryClient, is_gone: bool
) -> None:
    """The upload that a failed mount opened is used by the push, unless it
    was cleaned up meanwhile.
    """
    store = client.store(server.host, "ns/new")
    blob = content.blob("new")
    assert not store.mount(blob.descriptor, "ns/name")
    if is_gone:
        server.uploads.clear()
    store.push(blob.descriptor, blob.open())
    assert len(server.requests("POST")) == 1 + is_gone
    assert not server.uploads


def test_failed_mount_without_an_upload(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Where it names no upload, the push opens one."""
    server.fail("POST", "mount=", status=202)
    store = client.store(server.host, "ns/new")
    blob = content.blob("new")
    assert not store.mount(blob.descriptor, "ns/name")
    store.push(blob.descriptor, blob.open())
    assert server.content.store("ns/new").exists(blob.descriptor)


@pytest.mark.parametrize("status", [401, 403, 405])
def test_refused_mounts(
    server: RegistryServer, client: RegistryClient, status: int
) -> None:
    """A registry that does not mount is asked to take the bytes."""
    server.fail("POST", status=status)
    store = client.store(server.host, "ns/new")
    assert not store.mount(BLOB.descriptor, "ns/name")


def test_mount_of_what_the_origin_lacks(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A mount that is answered 404 may succeed later, so it is told apart."""
    server.fail("POST", status=404)
    store = client.store(server.host, "ns/new")
    with pytest.raises(errors.NotFound):
        store.mount(BLOB.descriptor, "ns/name")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
def test_failing_mounts(
    server: RegistryServer, client: RegistryClient, status: int
) -> None:
    """A mount that fails is tried twice; then the blob is sent."""
    server.fail("POST", "mount=", status=status, times=None)
    store = client.store(server.host, "ns/new")
    assert not store.mount(BLOB.descriptor, "ns/name")
    assert len(server.requests("POST")) <= 2
    store_suite.push(store, BLOB)
    assert server.content.store("ns/new").exists(BLOB.descriptor)


@pytest.mark.parametrize("what", [BLOB, IMAGE.manifest])
def test_mounts_that_ask_nothing(
    server: RegistryServer, client: RegistryClient, what: content.Piece
) -> None:
    """Manifests, and blobs from anywhere, are not mounted."""
    store = client.store(server.host, "ns/new")
    origin = "ns/name" if what is IMAGE.manifest else None
    assert not store.mount(what.descriptor, origin)
    assert not server.log


def test_broken_push_is_cancelled(
    server: RegistryServer, client: RegistryClient
) -> None:
    """An upload that will not be ended is given up by name."""
    blob = content.blob("broken", 3_000_000)
    with pytest.raises(streams.Interrupted):
        client.store(server.host, "ns/new").push(
            blob.descriptor, streams.Breaking(blob.data[:2_000_000])
        )
    assert len(server.requests("DELETE", "/uploads/")) == 1
    assert not server.uploads


def test_cancelling_may_fail(
    server: RegistryServer, client: RegistryClient
) -> None:
    """The cause of a failed push is raised, not the failed clean-up."""
    server.fail("DELETE", status=500, times=None)
    blob = content.blob("broken", 3_000_000)
    with pytest.raises(streams.Interrupted):
        client.store(server.host, "ns/new").push(
            blob.descriptor, streams.Breaking(blob.data[:2_000_000])
        )


def test_errors_of_the_content_come_out(
    server: RegistryServer, client: RegistryClient
) -> None:
    """An error of the source is not taken for one of the network."""
    blob = content.blob("broken", 3_000_000)

    class Failing(streams.Breaking):
        def read(self, size: int | None = -1, /) -> bytes:
            try:
                return super().read(size)
            except streams.Interrupted:
                raise TimeoutError("of the source") from None

    with pytest.raises(TimeoutError, match="of the source"):
        client.store(server.host, "ns/new").push(
            blob.descriptor, Failing(blob.data[:2_000_000])
        )


def test_delete_where_it_is_not_allowed(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A registry that deletes nothing is told as such."""
    server.behaviour.deletes = False
    with pytest.raises(errors.ServerFault, match="405") as caught:
        store.delete(IMAGE.descriptor)
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in str(caught.value.hint)
    server.fail("DELETE", status=503, times=None)
    with pytest.raises(errors.ServerFault) as caught:
        store.delete(IMAGE.descriptor)
    assert caught.value.hint is None


# Lists


def test_tags_of_many_pages(
    server: RegistryServer, store: RegistryStore
) -> None:
    """Links are followed as they are, to the last page."""
    server.behaviour.page = 3
    target = server.content.store("ns/name")
    names = sorted(f"t{number}" for number in range(10))
    for name in names:
        target.tag(IMAGE.descriptor, name)
    assert list(store.tags()) == ["latest", *names]
    pages = server.requests("GET", "/tags/list")
    assert pages[0].path.endswith(f"?n={listing.PAGE}")
    assert pages[1].path.endswith("?n=3&last=t1")


def test_tags_of_the_unknown(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Where the registry says 404, so does the store."""
    server.fail(path="/tags/", status=404)
    with pytest.raises(errors.NotFound, match="repository unknown"):
        client.store(server.host, "ns/unknown").tags()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"tags": null}', []),
        (b'{"tags": ["a", "../x", 7, "", "b", "a"]}', ["a", "b"]),
    ],
)
def test_odd_tags(
    server: RegistryServer,
    store: RegistryStore,
    body: bytes,
    expected: list[str],
) -> None:
    """Names that cannot be tags are left out."""
    server.fail(path="/tags/", body=body)
    assert list(store.tags()) == expected


@pytest.mark.parametrize("body", [b"[]", b"no json"])
def test_lists_that_are_none(
    server: RegistryServer, store: RegistryStore, body: bytes
) -> None:
    """A page that is no list is an error."""
    server.fail(path="/tags/", body=body, times=None)
    with pytest.raises(errors.InvalidContent, match="no JSON object"):
        store.tags()


def test_lists_that_stay_wrong(
    server: RegistryServer, make_client: Callable[..., RegistryClient]
) -> None:
    """The same wrong answer is asked for a few times only."""
    server.fail(path="/tags/", body=b"", times=None)
    policy = RetryPolicy(base=0.001, cap=0.001, same=3)
    store = make_client(policy=policy).store(server.host, "ns/name")
    with pytest.raises(errors.InvalidContent, match="no JSON object"):
        store.tags()
    assert len(server.requests("GET", "/tags/")) == policy.same


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ('<http://127.0.0.2:1/v2/x>; rel="next"', "on another host"),
        ('<http://169.254.169.254/>; rel="next"', "refused"),
        ("</v2/ns/name/tags/list?n=1000>; rel=next", "in a circle"),
    ],
)
def test_pages_that_lead_astray(
    server: RegistryServer, store: RegistryStore, link: str, message: str
) -> None:
    """Pages are on the registry and end (oras-go 1215)."""
    page = b'{"tags": ["a", "b"]}'
    server.fail(path="/tags/", headers={"Link": link}, body=page, times=None)
    with pytest.raises(errors.ServerFault, match=message) as caught:
        store.tags()
    assert not caught.value.temporary


@pytest.mark.parametrize(
    "link", ['</x>; rel="prev"', "nonsense", '</a>; title="x, y"; rel="last"']
)
def test_other_links(
    server: RegistryServer, store: RegistryStore, link: str
) -> None:
    """Only the next page is followed."""
    server.fail(path="/tags/", headers={"Link": link})
    assert list(store.tags()) == ["latest"]


def test_pages_are_bounded(
    server: RegistryServer,
    store: RegistryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list that never ends is given up."""
    monkeypatch.setattr(listing, "MAX_PAGES", 3)
    server.behaviour.page = 1
    target = server.content.store("ns/name")
    for number in range(5):
        target.tag(IMAGE.descriptor, f"t{number}")
    with pytest.raises(errors.ServerFault, match="over 3 pages"):
        store.tags()


def test_broken_referrers(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A list of referrers with a broken descriptor is not used."""
    body = b'{"manifests": [{"digest": "sha256:../x"}]}'
    server.fail(path="/referrers/", body=body)
    with pytest.raises(errors.InvalidContent, match="list of referrers"):
        store.referrers(IMAGE.descriptor)


def test_fallback_referrers_are_kept_once(
    server: RegistryServer, store: RegistryStore
) -> None:
    """Without the API, each referrer is in the fallback index once."""
    server.behaviour.referrers = False
    artifact = content.artifact("x", IMAGE.descriptor)
    store_suite.store_all(store, artifact)
    store_suite.store_all(store, artifact)
    assert list(store.referrers(IMAGE.descriptor)) == [artifact.descriptor]
    tag = referrers.tag_of(IMAGE.descriptor.digest)
    assert server.content.store("ns/name").resolve(tag)


def test_closed_client(server: RegistryServer) -> None:
    """A client that is closed asks nothing any more."""
    with RegistryClient() as client:
        store = client.store(server.host, "ns/name")
        store.resolve("latest")
    with pytest.raises(errors.StoreError, match="the run ends"):
        store.resolve("latest")
