"""The server: where it listens, how it ends, what it does with faults."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.streams import put
from tests import servers, tree_server
from tests.http_client import ask
from tests.trees import OnDisk

IMAGE = content.image("image")
DIGEST = IMAGE.descriptor.digest


@pytest.fixture
def tree(tmp_path: Path) -> ImageServeTree:
    """A tree with one image."""
    tree = ImageServeTree(tmp_path / "tree")
    store = tree.store("ns/app")
    put(store, IMAGE, "latest")
    return tree


def test_all_addresses(tree: ImageServeTree) -> None:
    """With * it listens on every address."""
    port = servers.free_port()
    with tree_server.running(tree.path, f"*:{port}"):
        assert ask(f"http://127.0.0.1:{port}", "/v2/").status == 200


def test_address_in_use(tree: ImageServeTree) -> None:
    """An address that somebody has is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(
                errors.InvalidArgument, match=f"{address}: address"
            ) as raised,
            tree_server.running(tree.path, address),
        ):
            pass
    assert raised.value.hint
    assert "another port" in raised.value.hint


def test_new_images_are_served(tree: ImageServeTree) -> None:
    """An image that is stored while it serves is there at once."""
    with tree_server.running(tree.path) as url:
        ask(url, "/v2/_catalog")
        store = ImageServeTree(tree.path).store("ns/new")
        put(store, IMAGE, "latest")
        document = ask(url, "/v2/_catalog").document
        assert document == {"repositories": ["ns/app", "ns/new"]}
        assert ask(url, "/v2/ns/new/manifests/latest").status == 200


def test_manifest_without_its_file(tree: ImageServeTree) -> None:
    """A tag of a manifest that is gone is unknown."""
    OnDisk(tree.store("ns/app")).manifest(DIGEST).unlink()
    with tree_server.running(tree.path) as url:
        answer = ask(url, "/v2/ns/app/manifests/latest")
    assert answer.status == 404
    assert answer.error_code == "MANIFEST_UNKNOWN"


def test_linked_manifest(tree: ImageServeTree, tmp_path: Path) -> None:
    """A manifest that is a link is not followed."""
    path = OnDisk(tree.store("ns/app")).manifest_directory(DIGEST)
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with tree_server.running(tree.path) as url:
        answer = ask(url, f"/v2/ns/app/manifests/{DIGEST}")
    assert answer.status == 404
    assert answer.error_code == "MANIFEST_UNKNOWN"


def test_broken_tree(tree: ImageServeTree) -> None:
    """A file that is not what it should be is the server's fault."""
    path = OnDisk(tree.store("ns/app")).referrers_of(DIGEST)
    path.write_text("no index")
    with tree_server.running(tree.path) as url:
        answer = ask(url, f"/v2/ns/app/referrers/{DIGEST}")
    assert answer.status == 500
    assert answer.error_code == "UNKNOWN"


def test_unreadable_tree(
    tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the server may not read is denied."""

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied", "a file")

    with tree_server.running(tree.path) as url:
        monkeypatch.setattr(os, "open", refuse)
        answer = ask(url, f"/v2/ns/app/manifests/{DIGEST}")
    assert answer.status == 403
    assert answer.error_code == "DENIED"


def test_large_blob(tree: ImageServeTree) -> None:
    """Blobs larger than all buffers arrive whole."""
    blob = content.blob("large", 8 * 1024 * 1024 + 17)
    store_suite.push(tree.store("ns/app"), blob)
    with tree_server.running(tree.path) as url:
        answer = ask(url, f"/v2/ns/app/blobs/{blob.descriptor.digest}")
    assert answer.body == blob.data


def test_client_that_leaves(tree: ImageServeTree) -> None:
    """A client that hangs up half-way does no harm to others."""
    blob = content.blob("large", 8 * 1024 * 1024)
    store_suite.push(tree.store("ns/app"), blob)
    path = f"/v2/ns/app/blobs/{blob.descriptor.digest}"
    with tree_server.running(tree.path) as url:
        port = urllib.parse.urlsplit(url).port
        with socket.create_connection(("127.0.0.1", port or 0)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(100)
        assert ask(url, path).body == blob.data


# --- clients that cost more than they should


def _connect(url: str, *, receive: int = 0) -> socket.socket:
    """A connection; with `receive`, one with so small a buffer."""
    client = socket.socket()
    if receive:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(60)
    client.connect(("127.0.0.1", urllib.parse.urlsplit(url).port or 0))
    return client


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n", b"GET"]
)
def test_idle_connections(tree: ImageServeTree, sent: bytes) -> None:
    """A connection without a complete request is closed after a while."""
    with (
        tree_server.running(tree.path, idle=0.5) as url,
        _connect(url) as client,
    ):
        client.sendall(sent)
        assert client.recv(1) == b""


def test_trickled_head(tree: ImageServeTree) -> None:
    """A head that comes byte by byte has no more time than another."""
    with (
        tree_server.running(tree.path, idle=1.0) as url,
        _connect(url) as client,
    ):
        end = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                client.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() < end


def test_idle_between_requests(tree: ImageServeTree) -> None:
    """A connection that has had a response is closed after a while, too."""
    with (
        tree_server.running(tree.path, idle=0.5) as url,
        _connect(url) as client,
    ):
        client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert client.recv(1) == b""


def test_client_that_takes_nothing(tree: ImageServeTree) -> None:
    """A download without progress is ended; its file is not held for ever."""
    blob = content.blob("large", 16 * 1024 * 1024)
    store_suite.push(tree.store("ns/app"), blob)
    path = f"/v2/ns/app/blobs/{blob.descriptor.digest}"
    with (
        tree_server.running(tree.path, idle=1.0) as url,
        _connect(url, receive=4096) as client,
    ):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        deadline = time.monotonic() + 60
        while not _holds(blob.descriptor.digest):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while _holds(blob.descriptor.digest):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _holds(name: str) -> bool:
    """Whether this process has a file open."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return any(name in link for link in links)


@contextlib.contextmanager
def _process(
    tree: ImageServeTree, log: Path, descriptors: int
) -> Iterator[str]:
    """A process that serves, and may open so many files; gives its URL."""
    program = (
        "import sys; from imageprep_client.serving import server;"
        "server.serve(sys.argv[1], '127.0.0.1:0',"
        " lambda line: print(line, flush=True))"
    )
    with (
        log.open("wb") as errors_of,
        subprocess.Popen(
            [
                *("prlimit", f"--nofile={descriptors}"),
                *(sys.executable, "-c", program, str(tree.path)),
            ],
            stdout=subprocess.PIPE,
            stderr=errors_of,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@pytest.mark.parametrize("descriptors", [40, 128])
def test_more_clients_than_descriptors(
    tree: ImageServeTree, tmp_path: Path, descriptors: int
) -> None:
    """Too many connections are hung up on; the server lives, and is quiet."""
    log = tmp_path / "log"
    with _process(tree, log, descriptors) as url:
        clients = [_connect(url) for _ in range(400)]
        time.sleep(0.5)
        for client in clients:
            client.close()
        deadline = time.monotonic() + 60
        status = 0
        while status != 200 and time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = ask(url, "/v2/").status
        assert status == 200
    text = log.read_text()
    assert "Traceback" not in text
    assert len(text) < 1000


def test_aborted_download_is_quiet(
    tree: ImageServeTree, tmp_path: Path
) -> None:
    """Clients that hang up half-way leave nothing in the log."""
    blob = content.blob("large", 16 * 1024 * 1024)
    store_suite.push(tree.store("ns/app"), blob)
    path = f"/v2/ns/app/blobs/{blob.descriptor.digest}"
    log = tmp_path / "log"
    with _process(tree, log, 1024) as url:
        for size in (1, 100, 100_000):
            with _connect(url) as client:
                client.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                )
                client.recv(size)
                # With a reset, as of a process that was killed.
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert ask(url, path).body == blob.data
    assert log.read_text() == ""


def test_changed_manifest(tree: ImageServeTree) -> None:
    """A tag that moves, and a manifest that goes, are noticed at once."""
    other = content.image("other")
    store = tree.store("ns/app")
    store_suite.store_all(store, other)
    path = "/v2/ns/app/manifests/latest"
    with tree_server.running(tree.path) as url:
        for image in (IMAGE, other, IMAGE, other):
            store.tag(image.descriptor, "latest")
            for _ in range(2):
                answer = ask(url, path)
                digest = answer.headers["Docker-Content-Digest"]
                assert digest == image.descriptor.digest
        store.delete(other.descriptor)
        assert ask(url, path).status == 404
        by_digest = f"/v2/ns/app/manifests/{other.descriptor.digest}"
        assert ask(url, by_digest).status == 404
