"""Uploads of blobs: mounted from another repository, or sent."""

from __future__ import annotations

import contextlib
import functools
import threading
import urllib.parse

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.transport import Response
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.registry import blob
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.repository import (
    RepositoryRequests,
    Request,
)
from imageprep_client.stores.registry.session import RegistrySession

#: A mount saves an upload; after so many faults the upload is begun.
_MOUNTING = RetryPolicy(attempts=2)
#: The default limit of nginx for a body, and so the largest chunk.
_CHUNK = 1024 * 1024
_BINARY = "application/octet-stream"
_NO_UPLOADS = (
    "this may be no registry, or one that is read-only; or the project has to"
    " be created first"
)
_UNKNOWN = (
    "the registry does not know an upload that it opened: if there are several"
    " behind a load balancer, they need the same storage and secret, or each"
    " client always the same one"
)
#: Answers about an upload that is gone, or that has other content.
_OF_UPLOAD = (errors.NotFound, errors.Refused, errors.InvalidContent)
_SENT = frozenset({200, 201, 202, 204})
_OPENED = frozenset({200, 202, 204})


class Uploads:
    """The uploads of one repository, including open ones."""

    def __init__(self, repository: RepositoryRequests) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}
        self._used_again: set[str] = set()
        self._not_whole: set[str] = set()
        self._unanswered: set[str] = set()

    def mount(
        self, registry: RegistrySession, descriptor: Descriptor, origin: str
    ) -> bool:
        """Mount a blob from the repository `origin`, if the registry can.

        Any other refusal is no failure: the push that follows reports its
        cause.

        :raises NotFound: if the registry says that `origin` lacks the blob,
            and opens no upload in its place.
        """
        query = f"mount={_quoted(descriptor.digest)}&from={_quoted(origin)}"
        request = self._repository.request(
            "POST",
            f"blobs/uploads/?{query}",
            self._repository.what(descriptor),
        )
        scopes = request.scopes
        if origin != self._repository.path:
            scopes = (*scopes, f"repository:{origin}:pull")
        request = request._replace(scopes=scopes, repeatable=False)
        faults = _MOUNTING.begin()

        def post() -> Response | None:
            try:
                return registry.call(request, {201, 202})
            except (
                errors.NotFound,
                errors.TooManyRequests,
                errors.Unreachable,
            ):
                raise
            except errors.StoreError as error:
                if faults.pause(error) is None:
                    return None
                raise

        response = registry.retrier.retrying(request.what, post)
        if response is None:
            return False
        response.discard()
        if response.status == 202 and "Location" in response.headers:
            # The registry opened an upload, which the next push uses.
            with self._lock:
                self._open[descriptor.digest] = self._location(response)
        return response.status == 201

    def begin(
        self, registry: RegistrySession, descriptor: Descriptor
    ) -> bool | None:
        """Mount a blob from its own repository.

        A registry that lacks the blob opens an upload instead. One that
        answers 404 is not asked so again: Pulp mounts only what is part of an
        image, and HEAD finds what was pushed for one as well. Small content is
        sent as quickly as HEAD is, and Pulp says that it has the empty layer
        of docker, but takes no manifest with it before a push. Cloudflare's
        registry mounts nothing from the same repository and opens an upload
        of what it has, so HEAD is asked as well for the first few blobs.

        :returns: whether the blob is there; None if HEAD has to tell.
        """
        if registry.traits.mounts_own is not False:
            try:
                if self.mount(registry, descriptor, self._repository.path):
                    registry.traits.mounts_own = True
                    return True
            except errors.NotFound:
                registry.traits.mounts_own = False
        if registry.traits.mounts_own or descriptor.size <= base.SMALL:
            return False
        registry.traits.look()
        return None

    def found(self, registry: RegistrySession, descriptor: Descriptor) -> None:
        """Cancel the upload that was opened of a blob that HEAD found."""
        registry.traits.mounts_own = False
        with self._lock:
            location = self._open.pop(descriptor.digest, None)
        if location is not None:
            self._cancel(registry, location)

    def send(
        self,
        registry: RegistrySession,
        expected: Descriptor,
        body: bytes | blob.Upload,
    ) -> None:
        """Open an upload, then PUT everything in one request.

        A registry that may store a part of it gets it by PATCH.

        An upload that failed may contain a part of the content, so the next
        attempt opens a new one. Where a proxy refused the content unread, the
        upload is used again: opening one may be all that a limit of requests
        permits at a time. After a 413, large content is sent in chunks, and
        after a 404 or 416 any content: old releases of Artifactory accept no
        other uploads, and registries of several processes lose some. A
        redirect is followed with chunks, as a stream cannot be sent again.

        Storing large content may take longer than any timeout. It is not sent
        again if the registry has it by now. A proxy that broke the connection
        gets chunks: squid 5 aborts many large requests.

        :raises ServerFault: temporary after the first 413, 404, 416 or
            redirect.
        """
        if expected.digest in self._unanswered and self._is_stored(
            registry, expected
        ):
            return
        try:
            self._send(registry, expected, body)
        except errors.Unreachable as error:
            self._unanswered.add(expected.digest)
            if error.proxy and registry.traits.body_limit is None:
                registry.traits.body_limit = _CHUNK
            raise
        except _OF_UPLOAD as error:
            if self._may_be_spoilt(expected, body):
                raise errors.ServerFault(
                    str(error), status=_status(error), hint=error.hint
                ) from None
            raise

    def _may_be_spoilt(
        self, expected: Descriptor, body: bytes | blob.Upload
    ) -> bool:
        """Whether the last upload may be gone, or have a part twice.

        A server may have taken a part of what it refused for now.
        """
        return (
            expected.digest in self._used_again
            and getattr(body, "failure", None) is None
        )

    def _is_stored(
        self, registry: RegistrySession, expected: Descriptor
    ) -> bool:
        """Whether the registry says so; one that cannot say gets it again."""
        request = self._repository.content("HEAD", expected)
        with contextlib.suppress(errors.StoreError):
            response = registry.call(request._replace(repeatable=False), {200})
            response.discard()
            return response.length() in (None, expected.size)
        return False

    def _send(
        self,
        registry: RegistrySession,
        expected: Descriptor,
        body: bytes | blob.Upload,
    ) -> None:
        limit = registry.traits.body_limit
        if expected.digest in self._not_whole:
            self._send_chunks(registry, expected, body, limit or _CHUNK)
            return
        if limit is not None and len(body) > limit:
            self._send_chunks(registry, expected, body, limit)
            return
        what = self._repository.what(expected)
        with self._lock:
            kept = self._open.pop(expected.digest, None)
        location = kept
        if location is not None:
            self._used_again.add(expected.digest)
        else:
            self._used_again.discard(expected.digest)
            begin = self._repository.request("POST", "blobs/uploads/", what)
            repeatable = isinstance(body, blob.Upload)
            try:
                response = registry.call(
                    begin._replace(repeatable=repeatable), _OPENED
                )
            except errors.NotFound as error:
                error.hint = error.hint or _NO_UPLOADS
                raise
            response.discard()
            location = self._location(response)
        is_there = False
        try:
            # Of a PUT whose connection breaks, Pulp keeps the part that came,
            # under the digest of the whole, and takes no other content.
            if registry.traits.keeps_signatures:
                location = self._patch(registry, location, expected, body)
                is_there = True
                request = self._closing(location, expected, b"")
                self._call_again(registry, request, expected).discard()
            else:
                request = self._closing(location, expected, body)
                self._call(registry, request).discard()
        except BaseException as error:
            if _is_too_large(error, body, registry.traits.body_limit):
                registry.traits.body_limit = min(
                    _CHUNK, max(1, len(body) // 2)
                )
                raise errors.ServerFault(
                    f"{error}; chunks are tried"
                ) from None
            if not is_there and _is_unread(error):
                with self._lock:
                    self._open[expected.digest] = location
                raise
            if isinstance(error, _OF_UPLOAD) and self._may_be_spoilt(
                expected, body
            ):
                raise
            lost = _is_lost(error)
            if lost or _is_redirect(error):
                self._not_whole.add(expected.digest)
                raise errors.ServerFault(
                    f"{error}; chunks are tried"
                ) from None
            failure = getattr(body, "failure", None)
            if failure is None:
                raise
            self._cancel(registry, location)
            raise failure from None

    def _closing(
        self, location: str, expected: Descriptor, body: bytes | blob.Upload
    ) -> Request:
        """The request that completes an upload with the rest of content."""
        joint = "&" if urllib.parse.urlsplit(location).query else "?"
        query = f"digest={_quoted(expected.digest)}"
        what = self._repository.what(expected)
        return self._repository.request("PUT", "", what)._replace(
            url=f"{location}{joint}{query}",
            headers={"Content-Type": _BINARY},
            body=body,
            repeatable=False,
        )

    def _send_chunks(
        self,
        registry: RegistrySession,
        expected: Descriptor,
        body: bytes | blob.Upload,
        size: int,
    ) -> None:
        """Send content in several requests of `size` bytes at most.

        OCI distribution spec, "Pushing a blob in chunks". The registry may
        require a larger size.
        """
        what = self._repository.what(expected)
        begin = self._repository.request("POST", "blobs/uploads/", what)
        self._used_again.discard(expected.digest)
        response = registry.call(begin, _OPENED)
        response.discard()
        location = self._location(response)
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit():
            size = max(size, int(least[:9]))
        start = 0
        try:
            for piece in blob.pieces(body, size):
                end = start + len(piece)
                location = self._patch(
                    registry, location, expected, piece, f"{start}-{end - 1}"
                )
                start = end
        except errors.StoreError:
            self._cancel(registry, location)
            raise
        closing = self._closing(location, expected, b"")
        self._call_again(registry, closing, expected).discard()

    def _call_again(
        self, registry: RegistrySession, request: Request, expected: Descriptor
    ) -> Response:
        """Send a part of an upload, again while it is refused unread.

        After any other failure the upload may contain the part.
        """
        attempts = registry.retrier.begin()
        while True:
            try:
                return self._call(registry, request)
            except errors.ServerFault as error:
                if not _is_unread(error):
                    raise
                self._used_again.add(expected.digest)
                registry.retrier.rest(request.what, attempts, error)

    def _call(self, registry: RegistrySession, request: Request) -> Response:
        """Send content to the address that the registry named for it."""
        try:
            return registry.call(request, _SENT)
        except (errors.NoSpace, errors.Unreachable):
            raise
        except errors.StoreError as error:
            own = f"{registry.base}/v2/{self._repository.path}/"
            ours = urls.same_origin(request.url, own)
            below = ours and _path(request.url).startswith(_path(own))
            too_large = _status(error) == 413
            if not (error.temporary or below or too_large):
                told = f"{error.hint}; or " if ours and error.hint else ""
                error.hint = (
                    f"{told}{registry.name} names this address for the upload;"
                    " if it is not the right one, correct the proxy in front"
                    " of the registry: it has to pass on Host, with the port,"
                    " and X-Forwarded-Proto, and to rewrite Location where it"
                    " rewrites paths"
                )
            elif isinstance(error, errors.NotFound):
                error.hint = error.hint or _UNKNOWN
            raise

    def _patch(
        self,
        registry: RegistrySession,
        location: str,
        expected: Descriptor,
        body: bytes | blob.Upload,
        content_range: str | None = None,
    ) -> str:
        """Send a part of an upload; returns where the next one goes."""
        headers = {"Content-Type": _BINARY}
        if content_range is not None:
            headers["Content-Range"] = content_range
        what = self._repository.what(expected)
        request = self._repository.request("PATCH", "", what)._replace(
            url=location, headers=headers, body=body, repeatable=False
        )
        if isinstance(body, bytes):
            response = self._call_again(registry, request, expected)
        else:
            response = self._call(registry, request)
        response.discard()
        if "Location" in response.headers:
            return self._location(response)
        return location

    def _cancel(self, registry: RegistrySession, location: str) -> None:
        """Cancel an upload; registries also remove old uploads."""
        request = self._repository.request(
            "DELETE", "", self._repository.name
        )._replace(
            url=location,
            repeatable=False,
        )
        try:
            registry.call(request, {200, 202, 204}).discard()
        except errors.StoreError:
            return

    def _location(self, response: Response) -> str:
        location = response.headers.get("Location")
        if not location:
            raise errors.ServerFault(
                f"{self._repository.name}: an upload without a place"
            )
        return urls.follow(
            response.url,
            urls.with_tls_of(response.url, location),
            f"{self._repository.name}: upload location",
        )


@functools.lru_cache(maxsize=2048)
def _quoted(text: str) -> str:
    """A digest or a repository in a query; each is in many requests."""
    return urllib.parse.quote_plus(text)


def _status(error: BaseException) -> int | None:
    return error.status if isinstance(error, errors.ServerFault) else None


def _path(url: str) -> str:
    return urllib.parse.urlsplit(url).path


def _is_unread(error: BaseException) -> bool:
    """Whether a server refused a request for now, without its content."""
    return _status(error) in answers.LIMITED


def _is_lost(error: BaseException) -> bool:
    """Whether a registry has no upload where it said that it has one."""
    return isinstance(error, errors.NotFound) or _status(error) == 416


def _is_redirect(error: BaseException) -> bool:
    """Whether a registry redirected what was sent."""
    return _status(error) in urls.REDIRECTS


def _is_too_large(
    error: BaseException, body: bytes | blob.Upload, limit: int | None
) -> bool:
    """Whether smaller requests than this one may pass."""
    return _status(error) == 413 and (limit is None or len(body) > limit)
