"""``docker://``: one repository of a registry (OCI distribution spec)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify
from imageprep_client.stores.registry import (
    blob,
    deletion,
    description,
    resolving,
)
from imageprep_client.stores.registry.endpoints.replicas import (
    Prefetch,
    Replica,
    Replicas,
)
from imageprep_client.stores.registry.lists import (
    fallback,
    listing,
    signatures,
)
from imageprep_client.stores.registry.recent import Recent
from imageprep_client.stores.registry.repository import Access, Request
from imageprep_client.stores.registry.resolving import Denial
from imageprep_client.stores.registry.uploads import Uploads


class RegistryStore:
    """One repository of a registry; no request is sent before it is used.

    Content that is larger than 128 KiB is streamed and cannot be sent a second
    time: its push raises a temporary error, and the caller reads the content
    again. All other requests are repeated here.

    :param host: the physical registry.
    :param places: the replicas of the repository.
    :param access: if it is to be written to, all tokens permit writing, as
        Quay denies reading of absent repositories, and content is absent if
        access to it is denied.
    """

    def __init__(
        self, host: str, places: Replicas, access: Access = Access.READ
    ) -> None:
        self.registry = host
        self._requests = places.home.requests
        self._requests.access = access
        self.repository = self._requests.path
        self._connect = places.home.connect
        self._places = places
        self._manifests = Recent()
        self._resolver = resolving.Resolver(
            self._manifests,
            Denial.ABSENT if access is Access.WRITE else Denial.ERROR,
        )
        self._uploads = Uploads(self._requests)
        self._fallback = fallback.FallbackReferrers(self, self._put_index)

    def __str__(self) -> str:
        return self._requests.name

    # Reading

    def resolve(self, reference: str) -> Descriptor:
        return self._places.read(
            lambda place: self._resolver.resolve(place, reference),
            _digest(reference),
        )

    def resolve_ahead(self, reference: str) -> Descriptor:
        def get(place: Replica) -> Descriptor:
            request = place.requests.manifest("GET", reference)
            registry = place.connect(request)
            return self._resolver.by_get(registry, request, reference)

        return self._places.read(get, _digest(reference))

    def prefetch(self, wanted: str | Descriptor) -> Prefetch | None:
        return self._places.send_ahead(
            self._requests.manifest("GET", wanted)
            if isinstance(wanted, str)
            else self._requests.content("GET", wanted)
        )

    def prefetch_referrers(self, subject: Descriptor) -> Prefetch | None:
        if self._fallback.may_exist(subject):
            # It takes further requests, during which others would wait.
            return None
        return self._places.send_ahead(self._requests.referrers(subject))

    def exists(self, descriptor: Descriptor) -> bool:
        return self._places.read(
            lambda place: self._resolver.exists(place, descriptor),
            descriptor.digest,
            bool,
        )

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if descriptor.is_manifest:
            data = self._manifests.get(descriptor.digest)
            if data is None:
                data = self._places.read(
                    lambda place: self._fetch_manifest(place, descriptor),
                    descriptor.digest,
                )
            return verify.from_bytes(
                data, self._resolver.corrected(descriptor, data)
            )
        return self._places.read(
            lambda place: self._open(place, descriptor), descriptor.digest
        )

    def fetch_from(self, descriptor: Descriptor, offset: int) -> blob.Download:
        """The rest of a blob, not verified; reading resumes as for `fetch`."""
        return self._places.read(
            lambda place: self._download(place, descriptor, None, offset),
            descriptor.digest,
        )

    # Writing

    def push(self, expected: Descriptor, content: base.Content) -> None:
        self._requests.access = Access.WRITE
        verified = verify.verified(expected, content)
        if expected.is_manifest:
            if expected.size > manifests.MAX_SIZE:
                raise errors.SizeMismatch(
                    f"{self._requests.what(expected)}: manifest of"
                    f" {expected.size} bytes is over {manifests.MAX_SIZE}"
                )
            self._push_manifest(expected, _all(verified))
        elif expected.size <= base.SMALL:
            data = _all(verified)
            self._connect().retrier.retrying(
                self._requests.what(expected),
                lambda: self._uploads.send(self._connect(), expected, data),
            )
        else:
            self._uploads.send(
                self._connect(), expected, blob.Upload(verified, expected.size)
            )

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        references.check_tag(tag)
        self._requests.access = Access.WRITE
        data = self._manifests.get(descriptor.digest)
        if data is None:
            data = self._fetch_manifest(self._places.home, descriptor)
        self._put_tagged(descriptor.media_type, data, tag)

    # Optional powers

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        """Mount a blob from `repository`.

        Registries do not search for blobs: without a repository the result is
        False, and no request is sent.

        :raises NotFound: if the registry says that `repository` lacks it.
        """
        if repository is None or descriptor.is_manifest:
            return False
        references.check_repository(repository)
        self._requests.access = Access.WRITE
        return self._uploads.mount(self._connect(), descriptor, repository)

    def begin(self, descriptor: Descriptor) -> bool:
        """Look for a blob by a mount, or by HEAD."""
        self._requests.access = Access.WRITE
        registry = self._connect()
        begun = self._uploads.begin(registry, descriptor)
        if begun is not None:
            return begun
        found = self.exists(descriptor)
        if found:
            self._uploads.found(registry, descriptor)
        return found

    def push_tagged(
        self, expected: Descriptor, content: base.Content, tag: str
    ) -> None:
        references.check_tag(tag)
        self._requests.access = Access.WRITE
        data = _all(verify.verified(expected, content))
        response, digest = self._put_tagged(expected.media_type, data, tag)
        if digest == expected.digest and response is not None:
            self._pushed(response, expected, data)
        elif digest != expected.digest:
            # The tag names the manifest by a digest of another algorithm.
            self._push_manifest(expected, data)

    def tags(self) -> Iterator[str]:
        def list_them(place: Replica) -> list[str]:
            request = place.requests.request(
                "GET",
                f"tags/list?n={listing.PAGE}",
                place.requests.name,
                unknown="repository unknown",
            )
            return listing.tags(place.connect(), request)

        listed = self._places.read(list_them)
        self._fallback.note(listed)
        return iter(listed)

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        def look(place: Replica) -> list[Descriptor] | None:
            request = place.requests.referrers(subject)
            return listing.referrers(place.connect(), request)

        try:
            descriptors = self._places.read(
                look,
                subject.digest,
                lambda descriptors: descriptors is not None,
            )
        except errors.Refused:
            # The list may be under a tag, as in registries without the API.
            if listed := self._fallback.of(subject):
                return listed
            raise
        if descriptors is None:
            return self._fallback.of(subject)
        self._resolver.note(descriptors)
        return descriptors

    def signatures(self, digest: str) -> Sequence[bytes]:
        kept = False

        def read(place: Replica) -> list[bytes]:
            nonlocal kept
            # A mirror says it for those after it, too.
            kept = kept or place.connect().traits.keeps_signatures
            return signatures.read(place, digest) if kept else []

        return self._places.read(read, digest, bool)

    def delete(self, descriptor: Descriptor) -> None:
        self._manifests.drop(descriptor.digest)
        request = self._requests.content("DELETE", descriptor)
        deletion.delete(self._connect(), self._deleting(request))

    def untag(self, tag: str) -> None:
        references.check_tag(tag)
        request = self._requests.manifest("DELETE", tag)._replace(
            unknown="tag unknown"
        )
        deletion.untag(self._connect(), self._deleting(request))

    def digest_of(self, tag: str) -> str:
        references.check_tag(tag)
        request = self._requests.manifest("HEAD", tag)
        response = self._connect().call(request, resolving.HEARD_TO_READ)
        response.discard()
        if response.status != 200:
            request = request._replace(method="GET")
            response = self._connect().call(request, resolving.WHOLE)
            response.close()
        return description.claimed_digest(request.what, response) or ""

    def _deleting(self, request: Request) -> Request:
        # The scope for deletion differs between registries.
        return request._replace(headers={}, scopes=())

    def _fetch_manifest(self, place: Replica, descriptor: Descriptor) -> bytes:
        registry = place.connect()
        request = place.requests.content("GET", descriptor)._replace(
            repeatable=False
        )

        def get() -> bytes:
            response = registry.call(request, resolving.WHOLE)
            data = response.body(manifests.MAX_SIZE)
            expected = self._resolver.corrected(descriptor, data)
            return _all(verify.from_bytes(data, expected))

        data = registry.retrier.retrying(request.what, get)
        self._manifests.add(descriptor.digest, data)
        return data

    def _open(
        self, place: Replica, descriptor: Descriptor
    ) -> verify.VerifiedContent:
        request = place.requests.content("GET", descriptor)
        response = place.connect().call(request, resolving.WHOLE)
        length = response.transferred_length()
        if response.coding is not None and length != descriptor.size:
            # Storage may give a layer its own compression as a coding.
            response.close()
            raise response.encoded()
        if length is not None and length != descriptor.size:
            response.close()
            raise errors.SizeMismatch(
                f"{request.what}: {length} bytes, expected {descriptor.size}"
            )
        download = self._download(place, descriptor, response)
        return place.content(download, descriptor, request.what)

    def _download(
        self,
        place: Replica,
        descriptor: Descriptor,
        response: Response | None,
        offset: int = 0,
    ) -> blob.Download:
        registry = place.connect()
        request = place.requests.content("GET", descriptor)

        def open_at(offset: int | None) -> Response:
            if offset is None:
                return registry.call(request, resolving.WHOLE)
            # Some registries refuse ranges without an end.
            wanted = {"Range": f"bytes={offset}-{descriptor.size - 1}"}
            return registry.call(
                request._replace(headers=wanted), {200, 206, 416}
            )

        return blob.Download(
            registry.retrier,
            request.what,
            descriptor.size,
            response or open_at(offset),
            open_at,
            offset,
        )

    def _push_manifest(self, expected: Descriptor, data: bytes) -> None:
        response = self._put_manifest(
            expected.media_type, data, expected.digest
        )
        self._pushed(response, expected, data)

    def _pushed(
        self, response: Response, expected: Descriptor, data: bytes
    ) -> None:
        """Keep a manifest that was pushed, and list it as a referrer."""
        self._manifests.add(expected.digest, data)
        if "OCI-Subject" not in response.headers:
            manifest = manifests.parse(
                data, expected.media_type, expected.digest
            )
            if manifest.subject:
                self._fallback.add(manifest.subject, manifest.referrer)

    def _put_index(self, data: bytes, tag: str) -> Response:
        return self._put_manifest(mediatypes.OCI_INDEX, data, tag)

    def _put_tagged(
        self, media_type: str, data: bytes, tag: str
    ) -> tuple[Response | None, str]:
        """Push a manifest by tag, and verify that the tag names it.

        Unlike a digest, a tag in a URL does not let the registry verify the
        content.

        :returns: the response, and the digest that the tag names. No response:
            the tag named the manifest before.
        """
        request = self._requests.manifest("PUT", tag)
        what = request.what

        def named() -> str:
            home = self._places.home
            return self._resolver.resolve_pushed(home, tag).digest

        def put() -> tuple[Response | None, str]:
            try:
                response = self._send(request, media_type, data, tag)
            except errors.Refused:
                # The response to an earlier push of this tag may have been
                # lost, and some registries have immutable tags.
                with contextlib.suppress(errors.StoreError):
                    if named() == digests.of(data):
                        return None, digests.of(data)
                raise
            digest = description.claimed_digest(what, response) or named()
            if digests.of(data, digest.partition(":")[0]) != digest:
                raise errors.DigestMismatch(
                    f"{what}: names {digest}, which is not what was sent",
                    actual=digest,
                )
            return response, digest

        return self._connect().retrier.retrying(what, put)

    def _put_manifest(
        self, media_type: str, data: bytes, reference: str
    ) -> Response:
        request = self._requests.manifest("PUT", reference)
        return self._connect().retrier.retrying(
            request.what,
            lambda: self._send(request, media_type, data, reference),
        )

    def _send(
        self, request: Request, media_type: str, data: bytes, reference: str
    ) -> Response:
        """Send a manifest once."""
        request = request._replace(
            unknown=None,
            headers={"Content-Type": media_type},
            body=data,
            repeatable=False,
        )
        try:
            response = self._connect().call(request, {200, 201, 202, 204})
        except errors.DigestMismatch as refused:
            # The content is right. distribution refuses it while it writes
            # for another client the link to a blob that it names; an unknown
            # algorithm stays unknown.
            raise errors.DigestMismatch(
                str(refused),
                hint=refused.hint,
                temporary=not digests.is_valid(reference)
                or reference.startswith("sha256:"),
            ) from None
        response.discard()
        return response


def _digest(reference: str) -> str | None:
    """The digest in a reference; None for a tag, which is checked."""
    if digests.is_valid(reference):
        return reference
    references.check_tag(reference)
    return None


def _all(content: base.Content) -> bytes:
    """Read content to its verified end, without closing it."""
    return b"".join(iter(lambda: content.read(base.CHUNK), b""))
