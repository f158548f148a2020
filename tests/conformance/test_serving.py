"""One set of claims about the answers of four servers of a tree.

``undercloud`` is Apache with the virtual host of an undercloud, ``old
undercloud`` with that of one up to Victoria, ``printed`` Apache with what
``registry config`` prints, in a host whose other settings would spoil blobs,
``serve`` is ``registry serve``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.streams import put
from tests import apache, tree_server, tripleo_tree
from tests.http_client import Answer, ask, follow
from tests.trees import OnDisk

_COMPLETE = ("printed", "serve")

every = pytest.mark.parametrize(
    "url", list(tree_server.SERVERS), indirect=True, scope="module"
)
complete = pytest.mark.parametrize(
    "url", _COMPLETE, indirect=True, scope="module"
)
serve_only = pytest.mark.parametrize(
    "url", ["serve"], indirect=True, scope="module"
)

EVERYTHING = ", ".join(mediatypes.ACCEPT)
MANIFESTS_ONLY = f"{mediatypes.OCI_MANIFEST}, {mediatypes.DOCKER_MANIFEST}"
ABSENT = "sha256:" + "0" * 64

OCI = content.image("oci")
DOCKER = content.image("docker", docker=True)
ARM = content.image("arm")
MULTI = content.index({"linux/arm64": ARM, "linux/amd64": OCI})
FIRST = content.artifact("first", OCI.descriptor, "application/x.first")
SECOND = content.artifact("second", OCI.descriptor, "application/x.second")
OLD = content.image("old", docker=True)
OLD_MULTI = content.index(
    {"linux/amd64": OLD, "linux/arm64": content.image("o", docker=True)},
    docker=True,
)
PLANTED = content.image("planted")
#: A manifest that says of itself that it is a web page.
PAGE = json.dumps({"mediaType": "text/html", "x": "<script>"}).encode()
PAGE_DIGEST = digests.of(PAGE)
TAGS = {"docker": DOCKER, "multi": MULTI, "17.1": OCI, "17.1.2": DOCKER}


@dataclasses.dataclass(frozen=True)
class Place:
    """An image and where it is served."""

    repository: str
    tag: str
    image: content.Image

    @property
    def by_tag(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.tag}"

    @property
    def by_digest(self) -> str:
        digest = self.image.descriptor.digest
        return f"/v2/{self.repository}/manifests/{digest}"

    @property
    def blobs(self) -> dict[str, bytes]:
        home = f"/v2/{self.repository}/blobs"
        return {
            f"{home}/{piece.descriptor.digest}": piece.data
            for piece in self.image.pieces
            if not piece.descriptor.is_manifest
        }


NEW_PLACES = [Place("ns/app", tag, image) for tag, image in TAGS.items()]
OLD_PLACES = [
    Place("old/app", "16.2", OLD),
    Place("old/multi", "16.2", OLD_MULTI),
    Place("older/app", "13", OLD),
]
each_place = pytest.mark.parametrize(
    "place", NEW_PLACES + OLD_PLACES, ids=lambda place: place.by_tag[4:]
)
IMAGE = NEW_PLACES[2]
BLOB, BLOB_DATA = next(iter(IMAGE.blobs.items()))
BLOB_DIGEST = BLOB.rpartition("/")[2]
EMPTY = content.blob("empty", 0)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """Images that were pushed, and some that tripleo-common left."""
    with apache.readable_directory() as directory:
        path = directory / "image-serve"
        store = ImageServeTree(path).store("ns/app")
        store_suite.store_all(store, ARM, FIRST, SECOND)
        store_suite.push(store, EMPTY)
        for tag, image in TAGS.items():
            put(store, image, tag)
        tripleo_tree.write(path, "old/app", OLD, "16.2")
        tripleo_tree.write(path, "old/multi", OLD_MULTI, "16.2")
        tripleo_tree.write_with_link(path, "older/app", OLD, "13")
        store = ImageServeTree(path).store("ns/planted")
        put(store, PLANTED, "page")
        planted = OnDisk(store)
        for headers in (
            planted.htaccess(PLANTED.descriptor.digest),
            planted.blobs / ".htaccess",
        ):
            headers.write_text('Header set Content-Type "text/html"\n')
        page = planted.manifest(PAGE_DIGEST)
        page.parent.mkdir()
        page.write_bytes(PAGE)
        headers = planted.htaccess(PAGE_DIGEST)
        headers.write_text('Header set Content-Type "text/html"\n')
        secret = directory / "secret"
        secret.write_text("not served")
        (OnDisk(store).blobs / ABSENT.replace("0", "1")).symlink_to(secret)
        yield path


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, tree: Path) -> Iterator[str]:
    """A server of the tree."""
    with tree_server.SERVERS[request.param](tree) as found:
        yield found


@every
class TestEveryServer:
    """Answers that clients of an undercloud rely on."""

    def test_version(self, url: str) -> None:
        """The root says that this is a registry."""
        answer = ask(url, "/v2/")
        assert answer.status == 200
        api = answer.headers["Docker-Distribution-Api-Version"]
        assert api == "registry/2.0"

    @each_place
    def test_manifest_by_tag(self, url: str, place: Place) -> None:
        """A tag gives its manifest, byte for byte, with type and digest."""
        # With more types, an undercloud's choice from an old type map, whose
        # variants weigh the same, would depend on their sizes.
        accept = {"Accept": place.image.descriptor.media_type}
        assert_manifest(follow(url, place.by_tag, accept), place.image)

    @each_place
    def test_manifest_by_digest(self, url: str, place: Place) -> None:
        """A digest gives its manifest, if need be after a redirect."""
        assert_manifest(follow(url, place.by_digest), place.image)

    @each_place
    def test_blobs(self, url: str, place: Place) -> None:
        """Each blob comes byte for byte and with its digest."""
        for path, data in place.blobs.items():
            answer = ask(url, path, {"Accept-Encoding": "gzip"})
            assert answer.status == 200
            assert answer.body == data
            assert answer.headers["Content-Type"] == "application/octet-stream"
            digest = answer.headers["Docker-Content-Digest"]
            assert path.endswith(digest)
            assert answer.headers["Content-Encoding"] is None

    @pytest.mark.parametrize("place", NEW_PLACES + OLD_PLACES[:2])
    def test_head_of_a_tag(self, url: str, place: Place) -> None:
        """HEAD of a tag tells the length of its manifest."""
        accept = {"Accept": place.image.descriptor.media_type}
        answer = ask(url, place.by_tag, accept, "HEAD")
        assert answer.status == 200
        length = str(place.image.descriptor.size)
        assert answer.headers["Content-Length"] == length

    def test_head_of_a_blob(self, url: str) -> None:
        """HEAD of a blob tells its length."""
        answer = ask(url, BLOB, method="HEAD")
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(len(BLOB_DATA))

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_empty_blob(self, url: str, method: str) -> None:
        """A blob of no bytes has a length: clients refuse it without."""
        path = f"/v2/ns/app/blobs/{EMPTY.descriptor.digest}"
        answer = ask(url, path, method=method)
        assert answer.status == 200
        assert answer.headers["Content-Length"].strip() == "0"
        assert answer.body == b""

    def test_image_of_an_index(self, url: str) -> None:
        """A client that takes no index gets the image for linux/amd64."""
        accept = {"Accept": MANIFESTS_ONLY}
        answer = ask(url, "/v2/ns/app/manifests/multi", accept)
        assert_manifest(answer, OCI)

    def test_types_on_several_lines(self, url: str) -> None:
        """Types may be listed on lines of their own, as skopeo does."""
        answer = ask(
            url,
            "/v2/ns/app/manifests/multi",
            [("Accept", each) for each in mediatypes.MANIFESTS]
            + [("Accept", mediatypes.OCI_INDEX)],
        )
        assert_manifest(answer, MULTI)

    def test_index_for_who_takes_anything(self, url: str) -> None:
        """A client that names no types gets the index."""
        assert_manifest(ask(url, "/v2/ns/app/manifests/multi"), MULTI)

    def test_tags(self, url: str) -> None:
        """Tags are listed, sorted."""
        answer = ask(url, "/v2/ns/app/tags/list")
        assert answer.status == 200
        assert answer.document == {"name": "ns/app", "tags": sorted(TAGS)}

    def test_referrers(self, url: str) -> None:
        """Referrers are listed in an OCI index."""
        answer = ask(url, f"/v2/ns/app/referrers/{OCI.descriptor.digest}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == mediatypes.OCI_INDEX
        found = {each["digest"] for each in answer.document["manifests"]}
        assert found == {FIRST.descriptor.digest, SECOND.descriptor.digest}

    @pytest.mark.parametrize(
        "path",
        [
            "/v2/ns/app/manifests/nothing",
            "/v2/ns/app/manifests/17",
            "/v2/ns/app/manifests/.INVALID",
            f"/v2/ns/app/manifests/{ABSENT}",
            f"/v2/ns/app/blobs/{ABSENT}",
            "/v2/ns/nothing/manifests/latest",
            "/v2/ns/nothing/tags/list",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_what_is_not_there(self, url: str, path: str, method: str) -> None:
        """Unknown names, tags and digests are 404."""
        assert ask(url, path, method=method).status == 404


@complete
class TestCompleteServers:
    """Demands of the distribution spec that an undercloud does not meet."""

    @each_place
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_no_redirect(self, url: str, place: Place, method: str) -> None:
        """A manifest by digest is answered at once."""
        answer = ask(url, place.by_digest, method=method)
        assert_manifest(answer, place.image, body=method == "GET")

    @each_place
    @pytest.mark.parametrize(
        "accept",
        [
            f"{mediatypes.OCI_MANIFEST}, {mediatypes.OCI_INDEX}",
            f"{mediatypes.DOCKER_MANIFEST}, {mediatypes.DOCKER_INDEX}",
            "*/*",
            "application/*",
            f"{mediatypes.OCI_INDEX};q=0.1",
            EVERYTHING,
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_tag_always_has_an_answer(
        self, url: str, place: Place, accept: str, method: str
    ) -> None:
        """Whatever types are listed, a tag gives what it names."""
        headers = {"Accept": accept, "Negotiate": "vlist"}
        answer = ask(url, place.by_tag, headers, method)
        assert_manifest(answer, place.image, body=method == "GET")

    @pytest.mark.parametrize("place", OLD_PLACES[1:2])
    def test_image_of_an_old_index(self, url: str, place: Place) -> None:
        """A client that takes no index gets an image of an old tree, too."""
        answer = ask(url, place.by_tag, {"Accept": MANIFESTS_ONLY})
        assert_manifest(answer, OLD)

    @each_place
    def test_etags_of_manifests(self, url: str, place: Place) -> None:
        """A manifest's ETag is its digest, in quotes."""
        for path in (place.by_tag, place.by_digest):
            etag = ask(url, path).headers["ETag"]
            assert etag == f'"{place.image.descriptor.digest}"'

    def test_etag_of_a_blob(self, url: str) -> None:
        """A blob's ETag is its digest, in quotes."""
        assert ask(url, BLOB).headers["ETag"] == f'"{BLOB_DIGEST}"'

    @pytest.mark.parametrize(
        ("asked", "part", "told"),
        [
            ("10-19", slice(10, 20), "10-19"),
            ("-10", slice(-10, None), "990-999"),
            ("990-", slice(990, None), "990-999"),
        ],
    )
    def test_range(self, url: str, asked: str, part: slice, told: str) -> None:
        """A part of a blob can be asked for, by either end."""
        answer = ask(url, BLOB, {"Range": f"bytes={asked}"})
        assert answer.status == 206
        assert answer.body == BLOB_DATA[part]
        assert answer.headers["Content-Range"] == f"bytes {told}/1000"

    def test_unsatisfiable_range(self, url: str) -> None:
        """A range behind the end is 416, in JSON."""
        answer = ask(url, BLOB, {"Range": "bytes=1000-"})
        assert answer.status == 416
        assert answer.error_code == "UNSUPPORTED"

    @pytest.mark.parametrize(
        ("etag", "status"), [(f'"{BLOB_DIGEST}"', 206), ('"other"', 200)]
    )
    def test_if_range(self, url: str, etag: str, status: int) -> None:
        """A download goes on only with the blob that it began with."""
        headers = {"Range": "bytes=10-19", "If-Range": etag}
        assert ask(url, BLOB, headers).status == status

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("/v2/ns/app/manifests/nothing", "MANIFEST_UNKNOWN"),
            (f"/v2/ns/app/manifests/{ABSENT}", "MANIFEST_UNKNOWN"),
            (f"/v2/ns/app/blobs/{ABSENT}", "BLOB_UNKNOWN"),
            ("/v2/ns/nothing/tags/list", "NAME_UNKNOWN"),
            ("/v2/Bad/tags/list", "NAME_UNKNOWN"),
            ("/v2/ns/app", "NAME_UNKNOWN"),
            ("/", "NAME_UNKNOWN"),
        ],
    )
    def test_codes_of_what_is_not_there(
        self, url: str, path: str, code: str
    ) -> None:
        """A 404 says in JSON what is unknown."""
        answer = ask(url, path)
        assert answer.status == 404
        assert answer.error_code == code

    @pytest.mark.parametrize("kind", ["manifests", "blobs", "referrers"])
    @pytest.mark.parametrize(
        "digest", ["sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64]
    )
    def test_invalid_digests(self, url: str, kind: str, digest: str) -> None:
        """A malformed digest is answered with 400."""
        answer = ask(url, f"/v2/ns/app/{kind}/{digest}")
        assert answer.status == 400
        assert answer.error_code == "DIGEST_INVALID"

    @pytest.mark.parametrize(
        "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    )
    def test_read_only(self, url: str, method: str) -> None:
        """Nothing can be written, and the answer says so."""
        headers = {"Content-Length": "0"}
        answer = ask(url, "/v2/ns/app/blobs/uploads/", headers, method)
        assert answer.status == 405
        assert answer.error_code == "UNSUPPORTED"
        assert "GET, HEAD" in answer.headers.get_all("Allow", [])

    def test_version_without_slash(self, url: str) -> None:
        """The root of the API needs no slash at its end."""
        assert ask(url, "/v2").status == 200

    @pytest.mark.parametrize(
        "path", ["/v2/", "/v2/_catalog", "/v2/ns/app/tags/list"]
    )
    def test_types_of_documents(self, url: str, path: str) -> None:
        """Documents of the API are JSON and say so."""
        assert ask(url, path).headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        "path",
        [
            "/.lock",
            "/.incoming/",
            "/v2/index.json",
            "/v2/ns/app/manifests/.htaccess",
            "/v2/ns/app/referrers/.htaccess",
            "/v2/ns/app/manifests/17.1.type-map",
            f"{IMAGE.by_digest}/.htaccess",
            f"{IMAGE.by_digest}/index.json",
            f"{IMAGE.by_digest}/",
            "/v2/ns/app/blobs/",
            "/v2/ns/app/blobs/" + ABSENT.replace("0", "1"),
            "/v2/ns/app/tags/../../../../secret",
            "/v2/ns/%2e%2e/%2e%2e/secret",
            "/secret",
        ],
    )
    def test_nothing_else_is_served(self, url: str, path: str) -> None:
        """Only the API's paths give files, and only regular ones."""
        answer = ask(url, path)
        assert answer.status in (400, 403, 404)
        assert b"not served" not in answer.body

    @pytest.mark.parametrize(
        "path",
        [
            "manifests/page",
            f"manifests/{PLANTED.descriptor.digest}",
            f"manifests/{PAGE_DIGEST}",
            f"blobs/{PLANTED.pieces[1].descriptor.digest}",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_planted_type(self, url: str, path: str, method: str) -> None:
        """A type that somebody wrote into the tree is not sent."""
        answer = ask(url, f"/v2/ns/planted/{path}", method=method)
        assert answer.headers["Content-Type"] in {
            *mediatypes.ACCEPT,
            "application/json",
            "application/octet-stream",
        }

    @pytest.mark.parametrize(
        "path",
        [
            "/v2/",
            "/v2/_catalog",
            "/v2/ns/app/tags/list",
            f"/v2/ns/app/referrers/{ABSENT}",
            "/v2/ns/app/manifests/nothing",
            "/v2/ns/app/blobs/sha256:abc",
            IMAGE.by_tag,
            BLOB,
        ],
    )
    def test_types_are_not_guessed(self, url: str, path: str) -> None:
        """Every response tells browsers to take its type as it is."""
        headers = ask(url, path).headers
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]

    @pytest.mark.parametrize("end", ["%0a", "%0d%0a", "%00", "%09", "%7f"])
    @pytest.mark.parametrize(
        "path",
        [
            "/v2/",
            "/v2/_catalog",
            "/v2/ns/app/tags/list",
            f"/v2/ns/app/referrers/{OCI.descriptor.digest}",
            IMAGE.by_tag,
            IMAGE.by_digest,
            BLOB,
        ],
    )
    def test_control_characters(self, url: str, path: str, end: str) -> None:
        """A path with a control character is no path of the API."""
        answer = ask(url, path + end)
        assert answer.status in (400, 404)
        assert b"schemaVersion" not in answer.body

    def test_no_header_from_a_path(self, url: str) -> None:
        """No part of a path becomes a header of its own."""
        answer = ask(url, "/v2/ns/app/blobs/x%0d%0aInjected:%20yes")
        assert answer.headers["Injected"] is None


@serve_only
class TestServe:
    """Answers that only a program can give."""

    TAGS = "/v2/ns/app/tags/list"

    def test_first_page(self, url: str) -> None:
        """A page says where the next one is."""
        answer = ask(url, f"{self.TAGS}?n=3")
        assert answer.document["tags"] == sorted(TAGS)[:3]
        link = f'<{self.TAGS}?n=3&last=docker>; rel="next"'
        assert answer.headers["Link"] == link

    def test_pages_of_the_catalog(self, url: str) -> None:
        """Repositories come in pages, too, sorted."""
        answer = ask(url, "/v2/_catalog?n=2&last=ns/planted")
        assert answer.document == {"repositories": ["old/app", "old/multi"]}
        link = '</v2/_catalog?n=2&last=old%2Fmulti>; rel="next"'
        assert answer.headers["Link"] == link

    def test_invalid_page(self, url: str) -> None:
        """A number of entries that is none is refused."""
        answer = ask(url, f"{self.TAGS}?n=-1")
        assert answer.status == 400
        assert answer.error_code == "PAGINATION_NUMBER_INVALID"

    def test_filtered_referrers(self, url: str) -> None:
        """Referrers of one type are listed, and the answer says so."""
        path = f"/v2/ns/app/referrers/{OCI.descriptor.digest}"
        answer = ask(url, f"{path}?artifactType=application/x.first")
        found = [each["digest"] for each in answer.document["manifests"]]
        assert found == [FIRST.descriptor.digest]
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"

    @pytest.mark.parametrize("path", [BLOB, IMAGE.by_tag])
    def test_not_modified(self, url: str, path: str) -> None:
        """A client that has the content is told so."""
        etag = ask(url, path).headers["ETag"]
        answer = ask(url, path, {"If-None-Match": etag})
        assert answer.status == 304
        assert answer.body == b""


@pytest.mark.parametrize("server", _COMPLETE)
def test_empty_tree(server: str) -> None:
    """A tree without images is a registry without repositories."""
    with (
        apache.readable_directory() as directory,
        tree_server.SERVERS[server](directory) as url,
    ):
        assert ask(url, "/v2/").status == 200
        assert ask(url, "/v2/_catalog").document == {"repositories": []}


def assert_manifest(
    answer: Answer, image: content.Image, *, body: bool = True
) -> None:
    """This manifest, with its own type, digest and length."""
    assert answer.status == 200
    expected = image.descriptor
    assert answer.headers["Content-Type"] == expected.media_type
    assert answer.headers["Docker-Content-Digest"] == expected.digest
    assert answer.headers["Content-Length"] == str(expected.size)
    if body:
        assert answer.body == image.manifest.data


@every
def test_no_referrers(url: str) -> None:
    """Without referrers there is an empty index, not a 404."""
    answer = ask(url, f"/v2/ns/app/referrers/{ABSENT}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == mediatypes.OCI_INDEX
    assert answer.document == {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [],
    }
