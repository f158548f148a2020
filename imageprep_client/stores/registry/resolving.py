"""Resolution of tags and digests by HEAD, or by GET if HEAD fails."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.transport import Response
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.registry import description
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth.challenges import parse_challenges
from imageprep_client.stores.registry.endpoints.replicas import Replica
from imageprep_client.stores.registry.recent import Recent
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.session import RegistrySession

#: Answers to HEAD that do not tell the answer to GET. Redirects that lead
#: elsewhere are among them: storage signs URLs for one method.
REFUSALS = (
    frozenset({*range(201, 300), *range(400, 500), 501}) - answers.TEMPORARY
    | urls.REDIRECTS
)

_HEARD = frozenset({200, *REFUSALS})

#: All but requests to wait, for a HEAD that GET follows as the next attempt:
#: some registries fail at HEAD alone.
HEARD_TO_READ = _HEARD | frozenset(range(400, 600)) - answers.LIMITED

#: Answers to a GET of content. Some caches answer 206 although no range was
#: asked for; length and digest show whether it is the whole.
WHOLE = frozenset({200, 206})


class Denial(enum.Enum):
    """The meaning of a denied request for content."""

    ERROR = enum.auto()
    #: Quay and Artifactory deny access to absent content. The push shows
    #: whether writing is permitted.
    ABSENT = enum.auto()


class Resolver:
    """Resolves references to manifests of one repository.

    :param manifests: keeps the manifests that were read.
    """

    def __init__(self, manifests: Recent, denial: Denial) -> None:
        self._manifests = manifests
        self._denial = denial
        # The sizes of manifests that were not read, by digest: each list and
        # each answer may give another one.
        self._unread: dict[str, set[int]] = {}

    def note(self, descriptors: Iterable[Descriptor]) -> None:
        """Note descriptors from a list, whose sizes may be wrong as well.

        Google Artifact Registry and Harbor list wrong sizes of referrers.
        """
        for one in descriptors:
            self._unread.setdefault(one.digest, set()).add(one.size)

    def corrected(self, descriptor: Descriptor, data: bytes) -> Descriptor:
        """The descriptor, with the size of `data` if its own may be wrong.

        Proxies and registries give wrong lengths in answers to HEAD. The size
        in an index stays as it is: `data` has to agree with it.
        """
        if descriptor.size not in self._unread.get(descriptor.digest, ()):
            return descriptor
        return dataclasses.replace(descriptor, size=len(data))

    def head(self, registry: RegistrySession, request: Request) -> Response:
        """Send a HEAD.

        :raises NotFound: if nothing but this request fails at a destination:
            a registry that was killed may have left a broken link to the
            content, which a push replaces.
        """
        if self._denial is Denial.ERROR:
            return registry.call(request, HEARD_TO_READ)
        once = request._replace(repeatable=False)

        def send() -> Response:
            try:
                return registry.call(once, _HEARD)
            except errors.ServerFault as error:
                # A proxy that limits requests says nothing about content.
                if error.status not in answers.LIMITED:
                    error.isolated = registry.fails_alone(error)
                raise

        try:
            return registry.retrier.retrying(request.what, send)
        except errors.ServerFault as error:
            if error.isolated:
                raise errors.NotFound(str(error)) from None
            raise

    def is_asked_twice(
        self, registry: RegistrySession, request: Request, response: Response
    ) -> bool:
        """Whether a GET has to follow this response to HEAD.

        Some registries refuse HEAD, for instance with 404, which is accepted
        if HEAD succeeded before. At a destination most content is absent at
        first, so that GET follows only if HEAD is not supported.
        """
        kind = _kind(request)
        if response.status == 200:
            registry.traits.answers_head[kind] = True
            return False
        if response.status < 400 or response.status == 405:
            registry.traits.answers_head[kind] = False
            return True
        if response.status == 404 and registry.traits.answers_head.get(kind):
            return False
        return self._denial is Denial.ERROR

    def exists(self, place: Replica, descriptor: Descriptor) -> bool:
        """Look for content by HEAD, or by GET if HEAD does not tell."""
        registry = place.connect()
        request = place.requests.content("HEAD", descriptor)
        if registry.traits.answers_head.get(_kind(request)) is False:
            return self._exists_by_get(registry, request, descriptor.size)
        try:
            response = self.head(registry, request)
        except errors.NotFound:
            return False
        response.discard()
        again = self.is_asked_twice(registry, request, response)
        if response.status == 200:
            if response.length() in (None, descriptor.size):
                return True
        elif not again:
            return False
        return self._exists_by_get(registry, request, descriptor.size)

    def _exists_by_get(
        self, registry: RegistrySession, request: Request, size: int
    ) -> bool:
        """Request one byte; the response has the size of the content."""
        headers = dict(request.headers)
        if size:
            headers["Range"] = "bytes=0-0"
        request = request._replace(method="GET", headers=headers)
        expected = {200, 206, 404, 416}
        if self._denial is Denial.ABSENT:
            expected |= REFUSALS
        response = registry.call(request, expected)
        response.discard()
        exists = response.status in (200, 206)
        return exists and response.whole_size() in (None, size)

    def resolve(self, place: Replica, reference: str) -> Descriptor:
        """Resolve by HEAD, or by GET if the response to HEAD is incomplete."""
        request = place.requests.manifest("HEAD", reference)
        registry = place.connect(request)
        response = self.head(registry, request)
        again = self.is_asked_twice(registry, request, response)
        descriptor = self._described(request, reference, response)
        bad_login = _is_bad_login(response)
        if response.status != 200 and not (again or bad_login):
            raise errors.NotFound(
                str(
                    answers.from_response(
                        response, request.what, request.unknown
                    )
                )
            )
        response.discard()
        denial = Denial.ERROR if bad_login else self._denial
        return descriptor or self.by_get(registry, request, reference, denial)

    def resolve_pushed(self, place: Replica, tag: str) -> Descriptor:
        """Resolve a tag that was just pushed, so that it is not absent."""
        request = place.requests.manifest("HEAD", tag)
        registry = place.connect(request)
        response = registry.call(request, HEARD_TO_READ)
        descriptor = self._described(request, tag, response)
        response.discard()
        return descriptor or self.by_get(registry, request, tag, Denial.ERROR)

    def _described(
        self, request: Request, reference: str, response: Response
    ) -> Descriptor | None:
        """The descriptor in the headers of a response, if it is complete."""
        if response.status != 200:
            return None
        descriptor = description.described(request.what, reference, response)
        if descriptor:
            self.note([descriptor])
        return descriptor

    def by_get(
        self,
        registry: RegistrySession,
        request: Request,
        reference: str,
        denial: Denial | None = None,
    ) -> Descriptor:
        """Resolve by reading the manifest."""
        request = request._replace(method="GET", repeatable=False)
        try:
            return registry.retrier.retrying(
                request.what,
                lambda: self._read_manifest(registry, request, reference),
            )
        except (errors.AccessDenied, errors.Refused) as error:
            if (denial or self._denial) is Denial.ABSENT:
                raise errors.NotFound(str(error)) from None
            raise

    def _read_manifest(
        self, registry: RegistrySession, request: Request, reference: str
    ) -> Descriptor:
        response = registry.call(request, WHOLE)
        data = response.body(manifests.MAX_SIZE)
        claimed = description.claimed_digest(request.what, response)
        wanted = reference if digests.is_valid(reference) else claimed
        for digest in filter(None, dict.fromkeys((wanted, claimed))):
            actual = digests.of(data, digest.partition(":")[0])
            if actual != digest:
                raise errors.DigestMismatch(
                    f"{request.what}: digest is {actual}, expected {digest}",
                    actual=actual,
                )
        try:
            descriptor = manifests.parse(
                data,
                description.manifest_type(response, data),
                wanted,
                request.what,
            ).descriptor
        except errors.InvalidContent as error:
            error.hint = error.hint or description.page_hint(response)
            raise
        self._manifests.add(descriptor.digest, data)
        return descriptor


def _kind(request: Request) -> str:
    return "manifests" if "/manifests/" in request.url else "blobs"


def _is_bad_login(response: Response) -> bool:
    """Whether a registry without tokens refused the credentials."""
    if response.status != 401:
        return False
    challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
    return {challenge.scheme for challenge in challenges} == {"basic"}
