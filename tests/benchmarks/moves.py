"""Only move blobs between registries: the least that a copy can cost.

Nothing is looked up, decided or verified, and no manifest is written::

    python -m tests.benchmarks.moves FILE

The file has JSON: ``source`` and ``destination``, both ``host:port``, and
``blobs``, a list of ``digest``, ``size`` and the ``repositories`` that want
it. Each blob is fetched once, pushed into the first of these and mounted into
the others.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

_THREADS = 8
_PIECE = 1024 * 1024


class Mover(threading.Thread):
    """Moves blobs until there are no more, over two connections."""

    def __init__(self, job: dict[str, Any], todo: queue.SimpleQueue[Any]):
        super().__init__()
        self._source = http.client.HTTPConnection(job["source"])
        self._target = http.client.HTTPConnection(job["destination"])
        self._host = job["destination"]
        self._todo = todo
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Work; `failure` is what ended it early."""
        try:
            while True:
                self._move(**self._todo.get_nowait())
        except queue.Empty:
            pass
        except BaseException as error:
            self.failure = error

    def _move(self, digest: str, size: int, repositories: list[str]) -> None:
        first, *others = repositories
        location = self._ask("POST", f"/v2/{first}/blobs/uploads/", 202)
        place = location.partition(self._host)[2]
        self._source.request("GET", f"/v2/{first}/blobs/{digest}")
        answer = self._source.getresponse()

        def pieces() -> Iterator[bytes]:
            while piece := answer.read(_PIECE):
                yield piece

        self._target.request(
            "PUT",
            f"{place}&digest={digest}",
            body=pieces(),
            headers={
                "Content-Length": str(size),
                "Content-Type": "application/octet-stream",
            },
        )
        self._finish(201)
        for other in others:
            query = f"mount={digest}&from={first}"
            self._ask("POST", f"/v2/{other}/blobs/uploads/?{query}", 201)

    def _ask(self, method: str, path: str, status: int) -> str:
        self._target.request(method, path, headers={"Content-Length": "0"})
        return self._finish(status)

    def _finish(self, status: int) -> str:
        answer = self._target.getresponse()
        answer.read()
        if answer.status != status:
            raise RuntimeError(f"{answer.status}, not {status}")
        return answer.headers.get("Location", "")


def main() -> None:
    """Move all blobs of the job."""
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for blob in sorted(job["blobs"], key=lambda blob: -blob["size"]):
        todo.put(blob)
    movers = [Mover(job, todo) for _ in range(_THREADS)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    for mover in movers:
        if mover.failure:
            raise mover.failure


if __name__ == "__main__":
    main()
