"""The registry in the process answers as the specification says."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer, Open
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put

IMAGE = content.image("server")
BLOB = IMAGE.parts[0]
NAME = "/v2/ns/name"


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as registry:
        store = registry.content.store("ns/name")
        put(store, IMAGE, "latest")
        yield registry


def ask(
    server: RegistryServer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection(server.host, timeout=5)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_base(server: RegistryServer, path: str) -> None:
    """The base of the API answers 200."""
    assert ask(server, "GET", path)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "NAME_UNKNOWN"),
        ("GET", f"{NAME}/tags/other", 404, "NAME_UNKNOWN"),
        ("GET", f"{NAME}/manifests/none", 404, "NAME_UNKNOWN"),
        ("GET", f"{NAME}/blobs/sha256:x", 400, "NAME_INVALID"),
        ("GET", "/v2/Bad/manifests/latest", 400, "NAME_INVALID"),
        ("GET", f"{NAME}/referrers/sha256:x", 400, "NAME_INVALID"),
        ("PUT", f"{NAME}/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", f"{NAME}/manifests/x", 400, "MANIFEST_INVALID"),
    ],
)
def test_errors(
    server: RegistryServer, method: str, path: str, status: int, code: str
) -> None:
    """Errors have the codes of the specification."""
    answered, _, body = ask(server, method, path)
    assert answered == status
    assert json.loads(body)["errors"][0]["code"] == code


def test_manifest(server: RegistryServer) -> None:
    """A manifest comes with its type and digest."""
    status, headers, body = ask(server, "GET", f"{NAME}/manifests/latest")
    assert (status, body) == (200, IMAGE.manifest.data)
    assert headers["Content-Type"] == IMAGE.descriptor.media_type
    assert headers["Docker-Content-Digest"] == IMAGE.descriptor.digest


def test_range(server: RegistryServer) -> None:
    """A part of a blob can be had."""
    path = f"{NAME}/blobs/{BLOB.descriptor.digest}"
    status, headers, body = ask(
        server, "GET", path, headers={"Range": "bytes=10-19"}
    )
    assert (status, body) == (206, BLOB.data[10:20])
    assert headers["Content-Range"] == "bytes 10-19/1000"
    wrong = {"Range": "bytes=5000-5001"}
    assert ask(server, "GET", path, headers=wrong)[0] == 416


def test_chunked_upload(server: RegistryServer) -> None:
    """An upload may come in pieces."""
    blob = content.blob("pieces")
    _, headers, _ = ask(server, "POST", f"{NAME}/blobs/uploads/")
    place = headers["Location"]
    status, headers, _ = ask(server, "PATCH", place, blob.data[:400])
    assert (status, headers["Range"]) == (202, "0-399")
    joint = f"{headers['Location']}&digest={blob.descriptor.digest}"
    assert ask(server, "PUT", joint, blob.data[400:])[0] == 201
    assert server.content.store("ns/name").exists(blob.descriptor)


def test_wrong_upload(server: RegistryServer) -> None:
    """Content with another digest is refused."""
    _, headers, _ = ask(server, "POST", f"{NAME}/blobs/uploads/")
    place = f"{headers['Location']}&digest={BLOB.descriptor.digest}"
    status, _, body = ask(server, "PUT", place, b"other")
    assert status == 400
    assert b"DIGEST_INVALID" in body


def test_manifest_of_missing_parts(server: RegistryServer) -> None:
    """A manifest that names what is not there is refused, if so wanted."""
    image = content.image("missing")
    path = f"{NAME}/manifests/new"
    headers = {"Content-Type": mediatypes.OCI_MANIFEST}
    status, _, body = ask(server, "PUT", path, image.manifest.data, headers)
    assert status == 404
    assert b"MANIFEST_BLOB_UNKNOWN" in body
    server.behaviour.checks_parts = False
    assert ask(server, "PUT", path, image.manifest.data, headers)[0] == 201


def test_subject_is_confirmed(server: RegistryServer) -> None:
    """A registry with the API says that it knows the referrer."""
    artifact = content.artifact("x", IMAGE.descriptor)
    store = server.content.store("ns/name")
    for part in artifact.parts:
        store.push(part.descriptor, part.open())
    _, headers, _ = ask(
        server,
        "PUT",
        f"{NAME}/manifests/{artifact.descriptor.digest}",
        artifact.manifest.data,
        {"Content-Type": mediatypes.OCI_MANIFEST},
    )
    assert headers["OCI-Subject"] == IMAGE.descriptor.digest
    path = f"{NAME}/referrers/{IMAGE.descriptor.digest}"
    _, headers, body = ask(server, "GET", path)
    assert headers["Content-Type"] == mediatypes.OCI_INDEX
    (entry,) = json.loads(body)["manifests"]
    assert entry["digest"] == artifact.descriptor.digest


def test_tag_pages(server: RegistryServer) -> None:
    """Pages end where they are asked to, and name the next."""
    store = server.content.store("ns/name")
    store.tag(IMAGE.descriptor, "a")
    path = f"{NAME}/tags/list"
    _, headers, body = ask(server, "GET", f"{path}?n=1")
    assert json.loads(body)["tags"] == ["a"]
    assert headers["Link"] == f'<{path}?n=1&last=a>; rel="next"'
    _, headers, body = ask(server, "GET", f"{path}?n=1&last=a")
    assert json.loads(body)["tags"] == ["latest"]
    assert "Link" not in headers


def test_mounts_can_be_refused(server: RegistryServer) -> None:
    """A registry without mounts opens an upload instead."""
    path = (
        f"/v2/ns/b/blobs/uploads/?from=ns/name&mount={BLOB.descriptor.digest}"
    )
    server.behaviour.mounts = False
    assert ask(server, "POST", path)[0] == 202
    server.behaviour.mounts = True
    assert ask(server, "POST", path)[0] == 201


def test_mounts_of_images(server: RegistryServer) -> None:
    """A blob can be mounted once a tag leads to it, also through an index."""
    image = content.image("mounts")
    index = content.index({"linux/amd64": image})
    store = server.content.store("ns/index")
    put(store, image)
    store.push(index.descriptor, index.manifest.open())
    server.behaviour.mounts_of_images = True
    digest = image.parts[0].descriptor.digest
    path = f"/v2/ns/b/blobs/uploads/?from=ns/index&mount={digest}"
    assert ask(server, "POST", path)[0] == 404
    store.tag(index.descriptor, "latest")
    assert ask(server, "POST", path)[0] == 201


def test_catalogs_of_users() -> None:
    """A gate hides repositories, of which no page and no link tells."""

    class Hiding(Open):
        def lists(self, authorization: str, repository: str) -> bool:
            return repository != "b" or authorization == "me"

    with RegistryServer(gate=Hiding()) as server:
        for name in ("a", "b", "c"):
            put(server.content.store(name), IMAGE, "latest")
        path = "/v2/_catalog?n=1"
        _, headers, body = ask(server, "GET", path)
        assert json.loads(body)["repositories"] == ["a"]
        assert headers["Link"] == '</v2/_catalog?n=1&last=a>; rel="next"'
        _, headers, body = ask(server, "GET", f"{path}&last=a")
        assert json.loads(body)["repositories"] == ["c"]
        assert "Link" not in headers
        _, _, body = ask(
            server, "GET", "/v2/_catalog", headers={"Authorization": "me"}
        )
        assert json.loads(body)["repositories"] == ["a", "b", "c"]


def test_delete(server: RegistryServer) -> None:
    """Content can be deleted where that is allowed."""
    path = f"{NAME}/manifests/{IMAGE.descriptor.digest}"
    server.behaviour.deletes = False
    assert ask(server, "DELETE", path)[0] == 405
    server.behaviour.deletes = True
    assert ask(server, "DELETE", path)[0] == 202
    assert ask(server, "HEAD", path)[0] == 404


def test_open_gate() -> None:
    """A registry for everybody has neither challenges nor tokens."""
    assert Open().token("", ()) is None
    with pytest.raises(NotImplementedError):
        Open().challenge("", "")


def test_tokens_allow_what_was_granted() -> None:
    """A token is good for its scopes, until its end."""
    gate = Bearer("me", "pw", anonymous=True, lifetime=60)
    with RegistryServer(gate=gate) as server:
        answer = ask(server, "GET", "/token?scope=repository:ns/a:pull,push")
        token = json.loads(answer[2])["token"]
        bearer = f"Bearer {token}"
        assert gate.admits(bearer, "repository:ns/a:pull")
        assert not gate.admits(bearer, "repository:ns/a:push")
        assert not gate.admits(bearer, "repository:ns/b:pull")
        assert ask(server, "GET", "/v2/")[0] == 401
        allowed = {"Authorization": bearer}
        assert ask(server, "GET", "/v2/", headers=allowed)[0] == 200
        wrong = {"Authorization": "Basic x"}
        assert ask(server, "GET", "/token", headers=wrong)[0] == 401


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(headers={"X": "y"}), ("y", 200, 1000)),
        (Fault(status=418, body=b"tea"), (None, 418, 3)),
        (Fault(drip=0.001), (None, 200, 1000)),
    ],
)
def test_faults_of_answers(
    server: RegistryServer, fault: Fault, expected: tuple[Any, ...]
) -> None:
    """Headers, status and pace can be changed."""
    server.faults.add(fault)
    path = f"{NAME}/blobs/{BLOB.descriptor.digest}"
    status, headers, body = ask(server, "GET", path)
    assert (headers.get("X"), status, len(body)) == expected


@pytest.mark.parametrize(
    "fault", [Fault(truncate=10), Fault(length_error=5), Fault(reset=True)]
)
def test_faults_of_connections(server: RegistryServer, fault: Fault) -> None:
    """Answers can break off or not come at all."""
    server.faults.add(fault)
    path = f"{NAME}/blobs/{BLOB.descriptor.digest}"
    with pytest.raises(http.client.HTTPException):
        ask(server, "GET", path)


def test_corruption(server: RegistryServer) -> None:
    """One byte is changed, no more."""
    server.fail(corrupt=7)
    path = f"{NAME}/blobs/{BLOB.descriptor.digest}"
    _, _, body = ask(server, "GET", path)
    assert digests.of(body) != BLOB.descriptor.digest
    assert [n for n in range(1000) if body[n] != BLOB.data[n]] == [7]


def test_delay(server: RegistryServer) -> None:
    """An answer can take its time."""
    server.fail(delay=0.05)
    start = time.monotonic()
    ask(server, "GET", "/v2/")
    assert time.monotonic() - start >= 0.05


def test_clients_that_go_away(server: RegistryServer) -> None:
    """A body that never comes whole leaves the registry well."""
    connection = http.client.HTTPConnection(server.host, timeout=5)
    connection.putrequest("PUT", f"{NAME}/manifests/x")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"short")
    connection.close()
    assert ask(server, "GET", "/v2/")[0] == 200


def test_log(server: RegistryServer) -> None:
    """Requests are found by method and pattern."""
    ask(server, "GET", "/v2/?x=1", headers={"X-Test": "y"})
    (request,) = server.requests("GET", r"\?x=")
    assert request.headers["X-Test"] == "y"
    assert not server.requests("PUT")
