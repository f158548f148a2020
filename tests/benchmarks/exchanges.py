"""Processor time of one exchange with a registry, by kind of client.

See doc/source/contributor/adr/0012-heads-are-read-here.rst::

    python -m tests.benchmarks.exchanges [--runs N] [--count N]

The clients take turns. Each sends HEAD, GET, POST and PUT over connections
that are kept, with one thread and with eight.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import pathlib
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import urllib3

from imageprep_client.http.connections import Connections
from imageprep_client.oci import digest as digests
from tests import servers

_HEADERS = {"User-Agent": "bench", "Accept-Encoding": "identity"}
#: Sends a request; gives the status and the headers after reading the body.
Send = Callable[[str, str, bytes | None], tuple[int, Mapping[str, str]]]


def _ours() -> Send:
    def connect(origin: tuple[str, str, int], timeout: float) -> socket.socket:
        return socket.create_connection(origin[1:], timeout)

    pool = Connections(connect, 16)

    def send(
        method: str, url: str, body: bytes | None
    ) -> tuple[int, Mapping[str, str]]:
        response = pool.send(method, url, _HEADERS, body, (5.0, 60.0))
        while response.read(65536):
            pass
        return response.status, response.headers

    return send


def _urllib3() -> Send:
    manager = urllib3.PoolManager(maxsize=16)

    def send(
        method: str, url: str, body: bytes | None
    ) -> tuple[int, Mapping[str, str]]:
        response = manager.urlopen(
            method,
            url,
            body=body,
            headers=_HEADERS,
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        while response.read(65536):
            pass
        response.release_conn()
        return response.status, response.headers

    return send


def _http_client() -> Send:
    kept = threading.local()

    def send(
        method: str, url: str, body: bytes | None
    ) -> tuple[int, Mapping[str, str]]:
        host, _, path = url.removeprefix("http://").partition("/")
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection(host, timeout=60)
        kept.connection.request(method, f"/{path}", body, _HEADERS)
        response = kept.connection.getresponse()
        while response.read(65536):
            pass
        return response.status, response.headers

    return send


_CLIENTS = {
    "this package": _ours,
    "http.client": _http_client,
    "urllib3": _urllib3,
}


def _exchange(send: Send, base: str) -> None:
    """Four requests of a run, about a blob of their own."""
    data = os.urandom(2000)
    digest = digests.of(data)
    _, headers = send("POST", f"{base}/blobs/uploads/", None)
    send("PUT", f"{headers['Location']}&digest={digest}", data)
    for method in ("HEAD", "GET"):
        status, _ = send(method, f"{base}/blobs/{digest}", None)
        if status != 200:
            raise SystemExit(f"not measured: status {status}")


def _measure(
    make: Callable[[], Send], base: str, count: int, threads: int
) -> float:
    """Milliseconds of the processor for one request."""
    send = make()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: _exchange(send, base), range(2 * threads)))
        begin = time.process_time()
        list(pool.map(lambda _: _exchange(send, base), range(count)))
        return (time.process_time() - begin) / count / 4 * 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=400)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        servers.docker_registry(pathlib.Path(directory, "r")) as registry,
    ):
        base = f"http://{registry.host}/v2/bench/exchanges"
        taken: dict[tuple[str, int], list[float]] = {}
        for _, threads in itertools.product(range(options.runs), (1, 8)):
            for name, make in _CLIENTS.items():
                one = _measure(make, base, options.count, threads)
                taken.setdefault((name, threads), []).append(one)
    for (name, threads), times in sorted(taken.items()):
        print(
            f"{name:14} {threads} threads {statistics.median(times):6.3f} ms"
        )


if __name__ == "__main__":
    main()
