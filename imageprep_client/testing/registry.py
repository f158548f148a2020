"""A registry inside the process, which does wrong what a test wants.

It speaks the whole OCI distribution protocol - pull, push, content
discovery, content management - over HTTP on a free port of this host::

    with RegistryServer() as registry:
        registry.content.store("ns/name")      # fill it, look into it
        registry.fail(path="/blobs/", status=503)
        ...                                    # speak to registry.host
        assert registry.requests("GET", "/manifests/")
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import io
import re
import ssl
import threading
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing.answers import Answered, Answering
from imageprep_client.testing.answers import Behaviour as Behaviour
from imageprep_client.testing.faults import Failing, Fault, Faults
from imageprep_client.testing.gate import Open

_PATH = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)"
    r"/(?P<rest>(?:uploads/)?[^/]*)"
)
_BLOB = "application/octet-stream"


@dataclasses.dataclass(frozen=True)
class LoggedRequest:
    """A request as it came; `path` has the query, too."""

    method: str
    path: str
    headers: Mapping[str, str]


class RegistryServer(Failing):
    """The registry; it serves from its creation until it is closed.

    :param content: what it has, by default nothing.
    :param gate: who may use it.
    :param tls: serve TLS with this context.
    :param seed: of the faults that come by chance.
    :ivar host: ``127.0.0.1:port``.
    :ivar log: all requests so far.
    :ivar connections: how many were made so far.
    """

    def __init__(
        self,
        content: MemoryRegistry | None = None,
        *,
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault] = (),
        gate: Open | None = None,
        tls: ssl.SSLContext | None = None,
        seed: int = 0,
    ) -> None:
        self.content = content or MemoryRegistry()
        self.behaviour = behaviour or Behaviour()
        super().__init__(Faults(faults, seed))
        self.gate = gate or Open()
        self.log: list[LoggedRequest] = []
        self.connections = 0
        self.uploads: dict[str, bytearray] = {}
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket,
                server_side=True,
                # Each thread shakes hands for itself, or one client that
                # does not would stop all.
                do_handshake_on_connect=False,
            )
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def requests(
        self, method: str = "", path: str = ""
    ) -> list[LoggedRequest]:
        """The requests so far of this method whose path has this pattern."""
        return [
            request
            for request in list(self.log)
            if method in ("", request.method) and re.search(path, request.path)
        ]

    def close(self) -> None:
        """Take no more requests."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Nobody waits for connections that clients keep open.
    block_on_close = False
    request_queue_size = 128
    registry: RegistryServer

    def process_request(self, request: Any, client_address: Any) -> None:
        self.registry.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of a test."""


class _Handler(Answering):
    server: _Server

    @property
    def registry(self) -> RegistryServer:
        return self.server.registry

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

    def _handle(self) -> None:
        self.registry.log.append(
            LoggedRequest(self.command, self.path, dict(self.headers))
        )
        size = int(self.headers.get("Content-Length") or 0)
        self.fault = self.registry.faults.of(self.command, self.path, size)
        with contextlib.suppress(Answered):
            self._before()
            body = self._body()
            try:
                self._route(body)
            except errors.NotFound as error:
                self.fail(404, str(error))
            except errors.InvalidReference as error:
                self.fail(400, str(error), "NAME_INVALID")
            except errors.InvalidContent as error:
                self.fail(400, str(error), "MANIFEST_INVALID")

    def _before(self) -> None:
        """Faults that come in place of an answer."""
        fault = self.fault
        if fault and fault.delay:
            self.registry.stopped.wait(fault.delay)
        if fault and fault.reset:
            self.close_connection = True
            raise Answered
        if fault and fault.status:
            self._body()
            self.answer(fault.status, fault.body or b"")

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if len(data) < length:
            self.close_connection = True
            raise Answered
        return data

    def _route(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        self._query = dict(
            urllib.parse.parse_qsl(query, keep_blank_values=True)
        )
        if path == "/token":
            self._token(urllib.parse.parse_qs(query).get("scope", []))
        match = _PATH.fullmatch(urllib.parse.unquote(path))
        name = match["name"] if match else ""
        action = "pull"
        if self.command in ("PUT", "POST", "PATCH"):
            action = "push"
        elif self.command == "DELETE":
            action = "push" if "/uploads/" in path else "delete"
        if path == "/v2/_catalog":
            self._check_access("registry:catalog:*")
            self._catalog()
        self._check_access(f"repository:{name}:{action}" if name else "")
        elsewhere = self.registry.behaviour.redirects.get(self.command)
        if elsewhere:
            self.answer(307, b"", {"Location": f"{elsewhere}{self.path}"})
        if not match:
            if path in ("/v2/", "/v2"):
                self.answer(200, b"{}", {"Content-Type": "application/json"})
            self.fail(404, "no such page")
        store = self.registry.content.store(references.check_repository(name))
        rest = match["rest"]
        if rest.startswith("uploads/"):
            self._upload(store, rest.removeprefix("uploads/"), body)
        elif match["kind"] == "blobs":
            self._blob(store, digests.check(rest))
        elif match["kind"] == "manifests":
            self._manifest(store, rest, body)
        elif match["kind"] == "referrers":
            self._referrers(store, digests.check(rest))
        elif rest == "list":
            self._tags(store)
        self.fail(404, "no such page")

    def _check_access(self, scope: str) -> None:
        gate = self.registry.gate
        given = self.headers.get("Authorization", "")
        if not gate.admits(given, scope):
            challenge = gate.challenge(self.registry.url, scope)
            self.fail(
                401,
                "authentication required",
                headers={"WWW-Authenticate": challenge},
            )

    def _token(self, scopes: Sequence[str]) -> None:
        answer = self.registry.gate.token(
            self.headers.get("Authorization", ""), scopes
        )
        if answer is None:
            self.fail(401, "wrong user or password")
        self.json(answer)

    def _manifest(
        self, store: MemoryStore, reference: str, body: bytes
    ) -> None:
        behaviour = self.registry.behaviour
        if self.command == "PUT":
            self._put_manifest(store, reference, body)
        if self.command == "HEAD" and not behaviour.head:
            self.fail(405, "not supported")
        descriptor = store.resolve(reference)
        if self.command == "DELETE":
            if not digests.is_valid(reference):
                self._untag(store, reference)
            self._delete(store, descriptor)
        with store.fetch(descriptor) as stream:
            self.content(descriptor, stream.read())

    def _put_manifest(
        self, store: MemoryStore, reference: str, body: bytes
    ) -> None:
        given = reference if digests.is_valid(reference) else None
        parsed = manifests.parse(
            body, self.headers.get("Content-Type", ""), given
        )
        parts = (*parsed.blobs, *parsed.manifests)
        if self.registry.behaviour.checks_parts:
            for part in parts:
                if not store.exists(part):
                    self.fail(
                        404, f"{part.digest} unknown", "MANIFEST_BLOB_UNKNOWN"
                    )
        self._push(store, parsed.descriptor, body)
        if given is None:
            store.tag(parsed.descriptor, reference)
        headers = {
            "Location": f"/v2/{store.repository}/manifests/{reference}",
            "Docker-Content-Digest": parsed.descriptor.digest,
        }
        if parsed.subject and self.registry.behaviour.referrers:
            headers["OCI-Subject"] = parsed.subject.digest
        self.answer(201, b"", headers)

    def _blob(self, store: MemoryStore, digest: str) -> None:
        descriptor = store.describe(digest)
        if self.command == "DELETE":
            self._delete(store, descriptor)
        elsewhere = self.registry.behaviour.redirect_blobs
        if elsewhere:
            self.answer(307, b"", {"Location": f"{elsewhere}{self.path}"})
        with store.fetch(descriptor) as stream:
            self.content(
                dataclasses.replace(descriptor, media_type=_BLOB),
                stream.read(),
            )

    def _delete(self, store: MemoryStore, descriptor: Descriptor) -> None:
        if not self.registry.behaviour.deletes:
            self.fail(405, "not supported")
        store.delete(descriptor)
        self.answer(202, b"")

    def _untag(self, store: MemoryStore, tag: str) -> None:
        if not self.registry.behaviour.untags:
            self.fail(400, "a digest is wanted", "DIGEST_INVALID")
        store.untag(tag)
        self.answer(202, b"")

    def _upload(self, store: MemoryStore, name: str, body: bytes) -> None:
        uploads = self.registry.uploads
        place = f"/v2/{store.repository}/blobs/uploads/"
        if self.command == "POST":
            self._mount(store)
            name = uuid.uuid4().hex
            uploads[name] = bytearray()
            self.answer(202, b"", {"Location": f"{place}{name}?state=s"})
        if name not in uploads:
            self.fail(404, "upload unknown", "BLOB_UPLOAD_UNKNOWN")
        if self.command == "DELETE":
            del uploads[name]
            self.answer(204, b"")
        uploads[name] += body
        if self.command == "PUT":
            data = bytes(uploads.pop(name))
            digest = digests.check(self._query.get("digest"))
            self._push(store, Descriptor(_BLOB, digest, len(data)), data)
            location = f"/v2/{store.repository}/blobs/{digest}"
            self.answer(201, b"", {"Location": location})
        self.answer(
            202,
            b"",
            {
                "Location": f"{place}{name}?state=s",
                "Range": f"0-{max(len(uploads[name]) - 1, 0)}",
            },
        )

    def _mount(self, store: MemoryStore) -> None:
        digest, origin = self._query.get("mount"), self._query.get("from")
        if not digest or not origin or not self.registry.behaviour.mounts:
            return
        behaviour = self.registry.behaviour
        if origin == store.repository and not behaviour.mounts_own:
            return
        descriptor = Descriptor(_BLOB, digest, 0)
        if behaviour.mounts_of_images:
            other = self.registry.content.store(origin)
            roots = map(other.resolve, other.tags())
            if not any(_leads_to(other, root, digest) for root in roots):
                self.fail(404, "blob unknown", "BLOB_UNKNOWN")
        if store.mount(descriptor, references.check_repository(origin)):
            location = f"/v2/{store.repository}/blobs/{digest}"
            self.answer(201, b"", {"Location": location})

    def _push(
        self, store: MemoryStore, descriptor: Descriptor, data: bytes
    ) -> None:
        actual = digests.of(data, descriptor.digest.partition(":")[0])
        if actual != descriptor.digest:
            self.fail(400, "digest does not match", "DIGEST_INVALID")
        store.push(descriptor, io.BytesIO(data))

    def _tags(self, store: MemoryStore) -> None:
        found, headers = self._page(store.tags())
        self.json({"name": store.repository, "tags": found}, headers)

    def _catalog(self) -> None:
        if not self.registry.behaviour.catalog:
            self.fail(404, "no such page")
        content = self.registry.content
        given = self.headers.get("Authorization", "")
        found, headers = self._page(
            name
            for name in content.repositories()
            if self.registry.gate.lists(given, name)
            and list(content.store(name).manifests())
        )
        self.json({"repositories": found}, headers)

    def _page(self, names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
        """The part of a list that is asked for, and a link to the next."""
        last = self._query.get("last", "")
        found = [name for name in names if name > last]
        wanted = int(self._query.get("n") or self.registry.behaviour.page)
        count = min(wanted, self.registry.behaviour.page)
        if not 0 < count < len(found):
            return found, {}
        query = urllib.parse.urlencode({"n": count, "last": found[count - 1]})
        place = self.path.partition("?")[0]
        return found[:count], {"Link": f'<{place}?{query}>; rel="next"'}

    def _referrers(self, store: MemoryStore, digest: str) -> None:
        if not self.registry.behaviour.referrers:
            self.fail(404, "no such page")
        # Its size and type are not known, and need not be.
        found = store.referrers(Descriptor(_BLOB, digest, 0))
        self.json(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.OCI_INDEX,
                "manifests": [referrer.to_json() for referrer in found],
            },
            {"Content-Type": mediatypes.OCI_INDEX},
        )


def _leads_to(store: MemoryStore, root: Descriptor, digest: str) -> bool:
    """Whether a manifest, or one of its images, names a blob."""
    with store.fetch(root) as stream:
        manifest = manifests.parse(stream.read(), root.media_type)
    return any(blob.digest == digest for blob in manifest.blobs) or any(
        _leads_to(store, child, digest) for child in manifest.manifests
    )
