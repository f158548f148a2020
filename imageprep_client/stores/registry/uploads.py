"""Uploads of blobs: mounted from another repository, or sent."""

from __future__ import annotations

import contextlib
import dataclasses
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


@dataclasses.dataclass(slots=True)
class _State:
    """The state of one blob between the attempts at sending it.

    :ivar location: of the open upload that the next attempt uses, if any.
    :ivar used_again: whether an earlier request opened its upload, which may
        be gone, or have a part twice: a server may have taken a part of what
        it refused for now.
    :ivar in_chunks: whether the registry takes it in chunks only.
    :ivar unanswered: whether the registry may have it without having said so.
    """

    content: Descriptor
    location: str | None = None
    used_again: bool = False
    in_chunks: bool = False
    unanswered: bool = False


class Uploads:
    """The uploads of one repository, including open ones."""

    def __init__(self, repository: RepositoryRequests) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}

    def mount(
        self, registry: RegistrySession, descriptor: Descriptor, origin: str
    ) -> bool:
        """Mount a blob from the repository `origin`, if the registry can.

        Any other refusal is no failure: the push that follows reports its
        cause.

        :raises NotFound: if the registry says that `origin` lacks the blob,
            and opens no upload in its place.
        :raises NoSpace: if a quota has no room for the blob.
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
                errors.NoSpace,
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
            self._state(descriptor).location = self._location(response)
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
        traits = registry.traits
        if traits.mounts_own is not False:
            try:
                if self.mount(registry, descriptor, self._repository.path):
                    traits.mounts_own = True
                    return True
            except errors.NotFound:
                traits.mounts_own = False
        if traits.mounts_own or descriptor.size <= base.SMALL:
            return False
        traits.look()
        return None

    def found(self, registry: RegistrySession, descriptor: Descriptor) -> None:
        """Cancel the upload that was opened of a blob that HEAD found."""
        registry.traits.mounts_own = False
        state = self._states.pop(descriptor.digest, None)
        if state and (location := self._take(state)):
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
        state = self._state(expected)
        if not (state.unanswered and self._is_stored(registry, expected)):
            limit = registry.traits.body_limit
            too_large = limit is not None and len(body) > limit
            try:
                if state.in_chunks or too_large:
                    self._send_chunks(registry, state, body, limit or _CHUNK)
                else:
                    self._send_whole(registry, state, body)
            except errors.Unreachable as error:
                # The source may be out of reach, and not the registry.
                own = error is not getattr(body, "failure", None)
                state.unanswered |= own
                if own and error.proxy and registry.traits.body_limit is None:
                    registry.traits.body_limit = _CHUNK
                raise
        self._states.pop(expected.digest, None)

    def _state(self, content: Descriptor) -> _State:
        return self._states.setdefault(content.digest, _State(content))

    def _take(self, state: _State) -> str | None:
        """The location of the open upload, which no other thread uses."""
        with self._lock:
            location, state.location = state.location, None
        return location

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

    def _send_whole(
        self,
        registry: RegistrySession,
        state: _State,
        body: bytes | blob.Upload,
    ) -> None:
        location = self._take(state)
        state.used_again = location is not None
        if location is None:
            begin = self._begin(state)
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
        traits = registry.traits
        try:
            # Of a PUT whose connection breaks, Pulp keeps the part that came,
            # under the digest of the whole, and takes no other content.
            if traits.keeps_signatures:
                location = self._patch(registry, location, state, body)
                is_there = True
                request = self._closing(location, state, b"")
                self._call_again(registry, request, state).discard()
            else:
                request = self._closing(location, state, body)
                self._call(registry, request, state).discard()
        except BaseException as error:
            if _is_too_large(error, body, traits.body_limit):
                traits.body_limit = min(_CHUNK, max(1, len(body) // 2))
            elif not is_there and _is_unread(error):
                state.location = location
                raise
            elif _is_lost(error) or _status(error) in urls.REDIRECTS:
                state.in_chunks = True
            else:
                failure = getattr(body, "failure", None)
                if failure is None:
                    raise
                self._cancel(registry, location)
                raise failure from None
            raise errors.ServerFault(f"{error}; chunks are tried") from None

    def _begin(self, state: _State) -> Request:
        """The request that opens an upload."""
        what = self._repository.what(state.content)
        return self._repository.request("POST", "blobs/uploads/", what)

    def _closing(
        self, location: str, state: _State, body: bytes | blob.Upload
    ) -> Request:
        """The request that completes an upload with the rest of content."""
        joint = "&" if urllib.parse.urlsplit(location).query else "?"
        query = f"digest={_quoted(state.content.digest)}"
        return self._part("PUT", f"{location}{joint}{query}", state, body)

    def _part(
        self, method: str, url: str, state: _State, body: bytes | blob.Upload
    ) -> Request:
        what = self._repository.what(state.content)
        return self._repository.request(method, "", what)._replace(
            url=url,
            headers={"Content-Type": _BINARY},
            body=body,
            repeatable=False,
        )

    def _send_chunks(
        self,
        registry: RegistrySession,
        state: _State,
        body: bytes | blob.Upload,
        size: int,
    ) -> None:
        """Send content in several requests of `size` bytes at most.

        OCI distribution spec, "Pushing a blob in chunks". The registry may
        require a larger size.
        """
        state.used_again = False
        response = registry.call(self._begin(state), _OPENED)
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
                    registry, location, state, piece, f"{start}-{end - 1}"
                )
                start = end
        except errors.ImagePrepError:
            self._cancel(registry, location)
            raise
        closing = self._closing(location, state, b"")
        self._call_again(registry, closing, state).discard()

    def _call_again(
        self, registry: RegistrySession, request: Request, state: _State
    ) -> Response:
        """Send a part of an upload, again while it is refused unread.

        After any other failure the upload may contain the part.
        """
        attempts = registry.retrier.begin()
        while True:
            try:
                return self._call(registry, request, state)
            except errors.ServerFault as error:
                if not _is_unread(error):
                    raise
                state.used_again = True
                registry.retrier.rest(request.what, attempts, error)

    def _call(
        self, registry: RegistrySession, request: Request, state: _State
    ) -> Response:
        """Send content to the address that the registry named for it.

        :raises ServerFault: temporary where an upload that was used again may
            be the cause.
        """
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
            if state.used_again and isinstance(error, _OF_UPLOAD):
                raise errors.ServerFault(
                    str(error), status=_status(error), hint=error.hint
                ) from None
            raise

    def _patch(
        self,
        registry: RegistrySession,
        location: str,
        state: _State,
        body: bytes | blob.Upload,
        content_range: str | None = None,
    ) -> str:
        """Send a part of an upload; returns where the next one goes."""
        request = self._part("PATCH", location, state, body)
        if content_range is not None:
            headers = {**request.headers, "Content-Range": content_range}
            request = request._replace(headers=headers)
        if isinstance(body, bytes):
            response = self._call_again(registry, request, state)
        else:
            response = self._call(registry, request, state)
        response.discard()
        if "Location" in response.headers:
            return self._location(response)
        return location

    def _cancel(self, registry: RegistrySession, location: str) -> None:
        """Cancel an upload; registries also remove old uploads."""
        request = self._repository.request(
            "DELETE", "", self._repository.name
        )._replace(url=location, repeatable=False)
        with contextlib.suppress(errors.StoreError):
            registry.call(request, {200, 202, 204}).discard()

    def _location(self, response: Response) -> str:
        location = response.headers.get("Location")
        if not location:
            raise errors.ServerFault(
                f"{self._repository.name}: an upload without a Location",
                hint="the registry has to name one; a proxy in front of it may"
                " have removed it",
                temporary=False,
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
    refused = isinstance(error, errors.Refused) and error.status == 416
    return refused or isinstance(error, errors.NotFound)


def _is_too_large(
    error: BaseException, body: bytes | blob.Upload, limit: int | None
) -> bool:
    """Whether smaller requests than this one may pass."""
    return _status(error) == 413 and (limit is None or len(body) > limit)
