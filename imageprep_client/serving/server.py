"""A read-only registry over a tree: pull and content discovery."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import json
import os
import signal
import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.serving import negotiation, paging, ranges, route
from imageprep_client.serving.address import Address
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree

try:
    from aiohttp import web
except ModuleNotFoundError as _error:
    raise errors.InputError(
        "aiohttp is not installed",
        hint="pip install 'imageprep-client[serve]'",
    ) from _error

#: Sent with every response. Content is what somebody else wrote: no browser
#: may take it for anything but its type.
_HEADERS = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
}
#: Seconds that transfers get to end when the server is told to stop.
_GRACE = 2.0
_A_YEAR = "max-age=31536000, immutable"


def serve(tree: str, listen: str, announce: Callable[[str], None]) -> None:
    """Serve a tree until SIGINT or SIGTERM.

    :param announce: called with a line that names the tree and the URL as
        soon as connections are taken.
    :raises InvalidArgument: when nobody can listen there.
    :raises NotFound: when there is no tree.
    """

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with _listening(tree, listen) as url:
            announce(f"serving {tree} on {url}")
            await stop.wait()

    asyncio.run(run())


@contextlib.contextmanager
def running(
    tree: str | os.PathLike[str], listen: str = "127.0.0.1:0"
) -> Iterator[str]:
    """Serve a tree from a thread for the duration of the block.

    :returns: the URL, such as ``http://127.0.0.1:43210``.
    """
    started: concurrent.futures.Future[str] = concurrent.futures.Future()
    stop = asyncio.Event()
    loops = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with _listening(tree, listen) as url:
            started.set_result(url)
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(run())
        except errors.ImagePrepError as error:
            started.set_exception(error)

    thread = threading.Thread(target=work, name="registry", daemon=True)
    thread.start()
    url = started.result()
    try:
        yield url
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


@contextlib.asynccontextmanager
async def _listening(
    tree: str | os.PathLike[str], listen: str
) -> AsyncIterator[str]:
    """Serve a tree for the duration of the block; gives the URL."""
    address = Address.parse(listen)
    if not os.path.isdir(tree):
        raise errors.NotFound(f"{tree}: no such directory")
    runner = web.AppRunner(
        application(ImageServeTree(tree)),
        access_log=None,
        shutdown_timeout=_GRACE,
    )
    await runner.setup()
    try:
        host = None if address.host == "*" else address.host
        try:
            await web.TCPSite(runner, host, address.port).start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise errors.InvalidArgument(
                f"cannot listen on {address}: {reason.lower()}"
            ) from error
        port = runner.addresses[0][1]
        yield f"http://{Address(address.host, port)}"
    finally:
        await runner.cleanup()


def application(tree: ImageServeTree) -> web.Application:
    """The registry as an aiohttp application."""
    app = web.Application(middlewares=[_refusals])
    app.router.add_route("*", "/{path:.*}", _Registry(tree).handle)
    return app


@web.middleware
async def _refusals(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Answer what goes wrong as the distribution spec has it."""
    try:
        return await handler(request)
    except route.Refusal as error:
        refusal = error
    except errors.AccessDenied as error:
        refusal = route.Refusal(403, "DENIED", str(error))
    except errors.ImagePrepError as error:
        refusal = route.Refusal(500, "UNKNOWN", str(error))
    headers = {**_HEADERS, **refusal.headers}
    return _json(refusal.to_json(), headers, refusal.status)


def _json(
    document: object,
    headers: Mapping[str, str] = _HEADERS,
    status: int = 200,
    media_type: str = "application/json",
) -> web.Response:
    return web.Response(
        body=json.dumps(document).encode(),
        status=status,
        headers={**headers, "Content-Type": media_type},
    )


class _Registry:
    """Answers requests from a tree."""

    def __init__(self, tree: ImageServeTree) -> None:
        self._tree = tree

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise route.read_only()
        asked = route.parse(request.path)
        if asked.kind == "version":
            return _json({})
        if asked.kind == "catalog":
            # A tree remembers what it found; this one is as it is now.
            fresh = ImageServeTree(self._tree.path)
            names = await asyncio.to_thread(fresh.repositories)
            return self._list(request, {}, "repositories", names)
        store = self._tree.store(asked.repository)
        if asked.kind == "tags":
            return self._tags(request, store)
        if asked.kind == "referrers":
            return self._referrers(request, store, asked.reference)
        if asked.kind == "blob":
            return await self._blob(request, store, asked.reference)
        return await self._manifest(request, store, asked.reference)

    def _tags(
        self, request: web.Request, store: ImageServeStore
    ) -> web.Response:
        if not store.has_manifests():
            raise route.name_unknown(store.repository)
        return self._list(
            request, {"name": store.repository}, "tags", list(store.tags())
        )

    def _list(
        self,
        request: web.Request,
        document: dict[str, Any],
        key: str,
        names: list[str],
    ) -> web.Response:
        query = request.query
        found, following = paging.page(
            names, query.get("n"), query.get("last")
        )
        headers = dict(_HEADERS)
        if following:
            headers["Link"] = f'<{request.path}?{following}>; rel="next"'
        return _json({**document, key: found}, headers)

    def _referrers(
        self, request: web.Request, store: ImageServeStore, digest: str
    ) -> web.Response:
        found = store.referrers(Descriptor(mediatypes.OCI_MANIFEST, digest, 0))
        headers = dict(_HEADERS)
        wanted = request.query.get("artifactType")
        if wanted:
            found = [each for each in found if each.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [each.to_json() for each in found],
        }
        return _json(index, headers, media_type=mediatypes.OCI_INDEX)

    async def _blob(
        self, request: web.Request, store: ImageServeStore, digest: str
    ) -> web.StreamResponse:
        file = store.open_blob(digest)
        if file is None:
            raise route.blob_unknown(digest)
        headers = {
            "Content-Type": "application/octet-stream",
            "Cache-Control": _A_YEAR,
        }
        return await _send(request, file, digest, headers)

    async def _manifest(
        self, request: web.Request, store: ImageServeStore, reference: str
    ) -> web.StreamResponse:
        digest = reference
        if ":" not in reference:
            # Container tools send a line for each type.
            accept = ", ".join(request.headers.getall("Accept", []))
            chosen = negotiation.choose(store.variants(reference), accept)
            if chosen is None:
                raise route.manifest_unknown(reference)
            digest = chosen.digest
        try:
            found = store.resolve(digest)
        except errors.NotFound as error:
            raise route.manifest_unknown(reference) from error
        # A tree may hold whatever somebody put there, a web page for one.
        if not mediatypes.is_manifest(found.media_type):
            raise route.manifest_unknown(reference)
        file = store.open_manifest(digest)
        if file is None:
            raise route.manifest_unknown(reference)
        headers = {"Content-Type": found.media_type}
        if digest != reference:
            headers["Vary"] = "Accept"
        return await _send(request, file, digest, headers)


async def _send(
    request: web.Request,
    file: io.FileIO,
    digest: str,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Send a file, or a range of it, by ``sendfile``; close it."""
    with file:
        size = os.fstat(file.fileno()).st_size
        etag = f'"{digest}"'
        response = web.StreamResponse(
            headers={
                **_HEADERS,
                **headers,
                "Docker-Content-Digest": digest,
                "ETag": etag,
                "Accept-Ranges": "bytes",
            }
        )
        known = request.if_none_match or ()
        if any(each.value in (digest, "*") for each in known):
            response.set_status(304)
            return response
        asked = None
        if (
            request.method == "GET"
            and request.headers.get("If-Range", etag) == etag
        ):
            asked = ranges.parse(request.headers.get("Range"), size)
        offset, count = asked or (0, size)
        if asked:
            response.set_status(206)
            response.headers["Content-Range"] = (
                f"bytes {offset}-{offset + count - 1}/{size}"
            )
        response.content_length = count
        await response.prepare(request)
        # The transport is None when the client has gone meanwhile.
        transport = request.transport
        if request.method == "GET" and count and transport is not None:
            loop = asyncio.get_running_loop()
            await loop.sendfile(transport, file, offset, count)
        await response.write_eof()
        return response
