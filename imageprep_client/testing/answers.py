"""How the registry in a test answers, rightly and wrongly."""

from __future__ import annotations

import dataclasses
import http.server
import json
import re
import threading
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NoReturn, Protocol

from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.testing.faults import Fault

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclasses.dataclass
class Behaviour:
    """Differences between registries, all of them allowed or seen.

    :ivar head: whether HEAD of manifests is answered at all (else 405).
    :ivar digest_header: whether Docker-Content-Digest is sent.
    :ivar ranges: whether Range is honoured.
    :ivar mounts: whether blobs can be mounted.
    :ivar mounts_own: whether a blob is mounted from its own repository; else
        an upload is opened.
    :ivar mounts_of_images: whether only blobs that a tag leads to can be
        mounted, and a mount of others is answered 404.
    :ivar referrers: whether there is the referrers API.
    :ivar deletes: whether content can be deleted.
    :ivar untags: whether a tag can be deleted alone (else 400).
    :ivar catalog: whether repositories are listed.
    :ivar redirect_blobs: base URL where blobs are really, or empty.
    :ivar redirects: where requests are redirected, base URLs by method.
    :ivar page: how many tags or repositories come at once at most.
    :ivar checks_parts: whether a manifest must name only what is there.
    :ivar framing: how an answer's end is told: by its length, in chunks, or
        by the end of its connection.
    """

    head: bool = True
    digest_header: bool = True
    ranges: bool = True
    mounts: bool = True
    mounts_own: bool = True
    mounts_of_images: bool = False
    referrers: bool = True
    deletes: bool = True
    untags: bool = True
    catalog: bool = True
    redirect_blobs: str = ""
    redirects: Mapping[str, str] = dataclasses.field(default_factory=dict)
    page: int = 100
    checks_parts: bool = True
    framing: Literal["length", "chunks", "close"] = "length"


class AnsweringRegistry(Protocol):
    """The registry that answers depend on."""

    behaviour: Behaviour
    stopped: threading.Event


class Answered(Exception):
    """The request has its answer."""


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers of one registry; each ends the handling of its request.

    :ivar fault: what goes wrong with this answer, or None.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fault: Fault | None = None

    @property
    def registry(self) -> AnsweringRegistry:
        """The registry that is asked."""
        raise LookupError("only a registry's own handler has one")

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `RegistryServer.log`."""

    _CODES: ClassVar[Mapping[int, str]] = {
        401: "UNAUTHORIZED",
        404: "NAME_UNKNOWN",
        405: "UNSUPPORTED",
        416: "RANGE_INVALID",
        429: "TOOMANYREQUESTS",
    }

    def content(self, descriptor: Descriptor, data: bytes) -> None:
        """Content with its type and digest, or the range that is asked for."""
        headers = {"Content-Type": descriptor.media_type}
        if self.registry.behaviour.digest_header:
            headers["Docker-Content-Digest"] = descriptor.digest
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and self.registry.behaviour.ranges:
            start, end = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            if start > end:
                self.fail(416, "range not satisfiable")
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            self.answer(206, data[start : end + 1], headers)
        self.answer(200, data, headers)

    def json(
        self, document: object, headers: Mapping[str, str] | None = None
    ) -> NoReturn:
        """A JSON document."""
        self.answer(
            200,
            json.dumps(document).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )

    def fail(
        self,
        status: int,
        message: str,
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> NoReturn:
        """An error of the distribution spec."""
        error = {
            "code": code or self._CODES.get(status, "UNKNOWN"),
            "message": message,
        }
        self.answer(
            status,
            json.dumps({"errors": [error]}).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )

    def answer(
        self,
        status: int,
        data: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> NoReturn:
        """An answer with this body; HEAD gets its headers."""
        fault = self.fault or Fault()
        if fault.body is not None:
            data = fault.body
        if fault.corrupt is not None and fault.corrupt < len(data):
            changed = bytearray(data)
            changed[fault.corrupt] ^= 0xFF
            data = bytes(changed)
        every: dict[str, str | None] = {
            **(headers or {}),
            **self._framing(len(data) + fault.length_error),
            **fault.headers,
        }
        self.send_response(status)
        for key, value in every.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(data, fault)
        raise Answered

    def flush_headers(self) -> None:
        """Send the head, a byte at a time if the fault says so."""
        if self.fault is None or not self.fault.trickle:
            super().flush_headers()
            return
        head = b"".join(self._headers_buffer)
        self._headers_buffer: list[bytes] = []
        for position in range(len(head)):
            if self.registry.stopped.wait(self.fault.trickle):
                break
            self.wfile.write(head[position : position + 1])

    def _framing(self, length: int) -> dict[str, str]:
        """How the end of a body is told."""
        match self.registry.behaviour.framing:
            case "chunks":
                return {"Transfer-Encoding": "chunked"}
            case "close":
                self.close_connection = True
                return {"Connection": "close"}
            case _:
                return {"Content-Length": str(length)}

    def _send(self, data: bytes, fault: Fault) -> None:
        if fault.truncate is not None or fault.length_error:
            self.close_connection = True
        if fault.truncate is not None:
            data = data[: fault.truncate]
        if self.registry.behaviour.framing == "chunks":
            pieces = [data[n : n + 700] for n in range(0, len(data), 700)]
            for piece in (*pieces, b""):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            return
        if not fault.drip:
            self.wfile.write(data)
            return
        for start in range(0, len(data), 1000):
            self.wfile.write(data[start : start + 1000])
            self.registry.stopped.wait(fault.drip)
