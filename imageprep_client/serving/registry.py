"""The registry over a tree, as a handler for aiohttp."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import os
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientConnectionError, web

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.serving import paging, ranges, route
from imageprep_client.serving.manifests import ServedManifests
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree

#: Sent with every response. Content is untrusted, and a browser must not
#: interpret it as another type.
_HEADERS = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
}
_A_YEAR = "max-age=31536000, immutable"
#: Bytes that are read and sent at a time. sendfile takes less processor time,
#: but a client on the same host gets half as much in that time.
_CHUNK = 256 * 1024


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


class TreeHandler:
    """Answers requests from a tree; a handler for `aiohttp.web.Server`.

    A router, middlewares and signals of an application would take as long
    as the answer itself.
    """

    def __init__(self, tree: ImageServeTree) -> None:
        self._tree = tree
        self._store = functools.lru_cache(maxsize=1024)(tree.store)
        self._manifests = ServedManifests(tree)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer; errors become responses of the distribution spec."""
        try:
            return await self._handle(request)
        except route.Refusal as error:
            refusal = error
        except errors.AccessDenied as error:
            refusal = route.Refusal(403, "DENIED", str(error))
        except errors.ImagePrepError as error:
            refusal = route.Refusal(500, "UNKNOWN", str(error))
        headers = {**_HEADERS, **refusal.headers}
        return _json(refusal.to_json(), headers, refusal.status)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise route.read_only()
        asked = route.parse(request.path)
        if asked.kind == "version":
            return _json({})
        if asked.kind == "catalog":
            # A tree caches its repositories; a new one reads them again.
            fresh = ImageServeTree(self._tree.path)
            names = await asyncio.to_thread(fresh.repositories)
            return self._list(request, {}, "repositories", names)
        store = self._store(asked.repository)
        if asked.kind == "tags":
            return self._tags(request, store)
        if asked.kind == "referrers":
            return self._referrers(request, store, asked.reference)
        if asked.kind == "blob":
            return await self._blob(request, store, asked.reference)
        return await self._manifest(request, store, asked.reference)

    def _tags(
        self, request: web.BaseRequest, store: ImageServeStore
    ) -> web.Response:
        if not store.has_manifests():
            raise route.name_unknown(store.repository)
        return self._list(
            request, {"name": store.repository}, "tags", list(store.tags())
        )

    def _list(
        self,
        request: web.BaseRequest,
        document: dict[str, Any],
        key: str,
        names: list[str],
    ) -> web.Response:
        query = request.query
        shown, following = paging.page(
            names, query.get("n"), query.get("last")
        )
        headers = dict(_HEADERS)
        if following:
            headers["Link"] = f'<{request.path}?{following}>; rel="next"'
        return _json({**document, key: shown}, headers)

    def _referrers(
        self, request: web.BaseRequest, store: ImageServeStore, digest: str
    ) -> web.Response:
        descriptors = store.referrers(
            Descriptor(mediatypes.OCI_MANIFEST, digest, 0)
        )
        headers = dict(_HEADERS)
        wanted = request.query.get("artifactType")
        if wanted:
            descriptors = [
                descriptor
                for descriptor in descriptors
                if descriptor.artifact_type == wanted
            ]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [descriptor.to_json() for descriptor in descriptors],
        }
        return _json(index, headers, media_type=mediatypes.OCI_INDEX)

    async def _blob(
        self, request: web.BaseRequest, store: ImageServeStore, digest: str
    ) -> web.StreamResponse:
        file = store.open_blob(digest)
        if file is None:
            raise route.blob_unknown(digest)
        headers = {
            "Content-Type": "application/octet-stream",
            "Cache-Control": _A_YEAR,
        }
        with file:
            return await _send(request, file, digest, headers)

    async def _manifest(
        self, request: web.BaseRequest, store: ImageServeStore, reference: str
    ) -> web.StreamResponse:
        # Container tools send a line for each type.
        accept = ", ".join(request.headers.getall("Accept", ()))
        manifest = self._manifests.get(store, reference, accept)
        if manifest is None:
            raise route.manifest_unknown(reference)
        headers = {"Content-Type": manifest.media_type}
        if manifest.digest != reference:
            headers["Vary"] = "Accept"
        with io.BytesIO(manifest.content) as file:
            return await _send(request, file, manifest.digest, headers)


async def _send(
    request: web.BaseRequest,
    file: io.FileIO | io.BytesIO,
    digest: str,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    if isinstance(file, io.BytesIO):
        size = len(file.getbuffer())
    else:
        size = os.fstat(file.fileno()).st_size
    etag = f'"{digest}"'
    headers = {
        **_HEADERS,
        **headers,
        "Docker-Content-Digest": digest,
        "ETag": etag,
        "Accept-Ranges": "bytes",
    }
    known = request.if_none_match or ()
    if any(tag.value in (digest, "*") for tag in known):
        return web.Response(status=304, headers=headers)
    wanted = None
    if (
        request.method == "GET"
        and request.headers.get("If-Range", etag) == etag
    ):
        wanted = ranges.requested(request, size)
    offset, count = wanted or (0, size)
    status = 206 if wanted else 200
    if wanted:
        last = offset + count - 1
        headers["Content-Range"] = f"bytes {offset}-{last}/{size}"
    # aiohttp leaves a length of 0 out of the response to HEAD.
    headers["Content-Length"] = str(count)
    if request.method == "HEAD":
        return web.Response(status=status, headers=headers)
    if isinstance(file, io.BytesIO):
        body = file.getvalue()[offset : offset + count]
        return web.Response(body=body, status=status, headers=headers)
    if count <= _CHUNK:
        body = os.pread(file.fileno(), count, offset)
        return web.Response(body=body, status=status, headers=headers)
    response = web.StreamResponse(status=status, headers=headers)
    try:
        await response.prepare(request)
        while count and (
            chunk := os.pread(file.fileno(), min(count, _CHUNK), offset)
        ):
            offset += len(chunk)
            count -= len(chunk)
            await response.write(chunk)
        await response.write_eof()
    except (ConnectionError, ClientConnectionError):
        # The client hung up, or took nothing for too long.
        request.protocol.force_close()
    return response
