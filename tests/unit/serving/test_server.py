"""The server: where it listens, how it ends, what it does with faults."""

from __future__ import annotations

import os
import signal
import socket
import threading
import urllib.parse
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.serving import server
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content, store_suite
from tests import servers
from tests.http_client import ask
from tests.trees import OnDisk

IMAGE = content.image("image")
DIGEST = IMAGE.descriptor.digest


@pytest.fixture
def tree(tmp_path: Path) -> ImageServeTree:
    """A tree with one image."""
    tree = ImageServeTree(tmp_path / "tree")
    store = tree.store("ns/app")
    store_suite.store_all(store, IMAGE)
    store.tag(IMAGE.descriptor, "latest")
    return tree


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_a_signal(tree: ImageServeTree, number: int) -> None:
    """It says where it serves, serves, and ends with the signal."""
    said = []

    def announce(line: str) -> None:
        said.append(line)
        url = line.rpartition(" ")[2]

        def use() -> None:
            try:
                said.append(str(ask(url, "/v2/").status))
            finally:
                os.kill(os.getpid(), number)

        threading.Thread(target=use).start()

    server.serve(str(tree.path), "127.0.0.1:0", announce)
    assert said[0].startswith(f"serving {tree.path} on http://127.0.0.1:")
    assert said[1:] == ["200"]


def test_all_addresses(tree: ImageServeTree) -> None:
    """With * it listens on every address."""
    port = servers.free_port()
    with server.running(tree.path, f"*:{port}"):
        assert ask(f"http://127.0.0.1:{port}", "/v2/").status == 200


def test_no_tree(tmp_path: Path) -> None:
    """A tree that is not there is not served."""
    with (
        pytest.raises(errors.NotFound, match="missing: no such directory"),
        server.running(tmp_path / "missing"),
    ):
        pass


def test_address_in_use(tree: ImageServeTree) -> None:
    """An address that somebody has is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(errors.InvalidArgument, match=f"{address}: address"),
            server.running(tree.path, address),
        ):
            pass


def test_new_images_are_served(tree: ImageServeTree) -> None:
    """What is stored while it serves is there at once."""
    with server.running(tree.path) as url:
        ask(url, "/v2/_catalog")
        store = ImageServeTree(tree.path).store("ns/new")
        store_suite.store_all(store, IMAGE)
        store.tag(IMAGE.descriptor, "latest")
        document = ask(url, "/v2/_catalog").document
        assert document == {"repositories": ["ns/app", "ns/new"]}
        assert ask(url, "/v2/ns/new/manifests/latest").status == 200


def test_manifest_without_its_file(tree: ImageServeTree) -> None:
    """A tag of a manifest that is gone is unknown."""
    OnDisk(tree.store("ns/app")).manifest(DIGEST).unlink()
    with server.running(tree.path) as url:
        answer = ask(url, "/v2/ns/app/manifests/latest")
    assert answer.status == 404
    assert answer.error_code == "MANIFEST_UNKNOWN"


def test_linked_manifest(tree: ImageServeTree, tmp_path: Path) -> None:
    """A manifest that is a link is not followed."""
    path = OnDisk(tree.store("ns/app")).manifest_directory(DIGEST)
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with server.running(tree.path) as url:
        answer = ask(url, f"/v2/ns/app/manifests/{DIGEST}")
    assert answer.status == 404
    assert answer.error_code == "MANIFEST_UNKNOWN"


def test_broken_tree(tree: ImageServeTree) -> None:
    """A file that is not what it should be is the server's fault."""
    path = OnDisk(tree.store("ns/app")).referrers_of(DIGEST)
    path.parent.mkdir()
    path.write_text("no index")
    with server.running(tree.path) as url:
        answer = ask(url, f"/v2/ns/app/referrers/{DIGEST}")
    assert answer.status == 500
    assert answer.error_code == "UNKNOWN"


def test_unreadable_tree(
    tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the server may not read is denied."""

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied", "a file")

    with server.running(tree.path) as url:
        monkeypatch.setattr(os, "open", refuse)
        answer = ask(url, f"/v2/ns/app/manifests/{DIGEST}")
    assert answer.status == 403
    assert answer.error_code == "DENIED"


def test_large_blob(tree: ImageServeTree) -> None:
    """Blobs larger than all buffers arrive whole."""
    blob = content.blob("large", 8 * 1024 * 1024 + 17)
    store_suite.push(tree.store("ns/app"), blob)
    with server.running(tree.path) as url:
        answer = ask(url, f"/v2/ns/app/blobs/{blob.descriptor.digest}")
    assert answer.body == blob.data


def test_client_that_leaves(tree: ImageServeTree) -> None:
    """Who hangs up half-way does no harm to others."""
    blob = content.blob("large", 8 * 1024 * 1024)
    store_suite.push(tree.store("ns/app"), blob)
    path = f"/v2/ns/app/blobs/{blob.descriptor.digest}"
    with server.running(tree.path) as url:
        port = urllib.parse.urlsplit(url).port
        with socket.create_connection(("127.0.0.1", port or 0)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(100)
        assert ask(url, path).body == blob.data
