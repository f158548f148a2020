"""Resolution of tags and digests by HEAD, or by GET if HEAD fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.registry import description
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth.authenticator import (
    parse_challenges,
)
from imageprep_client.stores.registry.endpoints.replicas import Replica
from imageprep_client.stores.registry.recent import Recent
from imageprep_client.stores.registry.session import (
    REDIRECTS,
    RegistrySession,
    Request,
)

_ACCEPT = {"Accept": ", ".join(mediatypes.ACCEPT)}
#: Answers to HEAD that do not tell the answer to GET. Redirects that lead
#: elsewhere are among them: storage signs URLs for one method.
REFUSALS = frozenset({*range(400, 500), 501}) - answers.TEMPORARY | REDIRECTS


class Resolver:
    """Resolves references to manifests of one repository.

    :param manifests: keeps the manifests that were read.
    :param is_destination: whether content is absent if access is denied.
    """

    def __init__(self, manifests: Recent, *, is_destination: bool) -> None:
        self._manifests = manifests
        self._is_destination = is_destination
        # The sizes of manifests that were not read, by digest.
        self._unread: dict[str, int] = {}

    def note(self, descriptors: Iterable[Descriptor]) -> None:
        """Note descriptors from a list, whose sizes may be wrong as well.

        Google Artifact Registry lists wrong sizes of referrers.
        """
        self._unread |= {each.digest: each.size for each in descriptors}

    def corrected(self, descriptor: Descriptor, data: bytes) -> Descriptor:
        """The descriptor, with the size of `data` if its own may be wrong.

        Proxies and registries give wrong lengths in answers to HEAD. The size
        in an index stays as it is: `data` has to agree with it.
        """
        if self._unread.get(descriptor.digest) != descriptor.size:
            return descriptor
        return dataclasses.replace(descriptor, size=len(data))

    def is_asked_twice(
        self, registry: RegistrySession, request: Request, response: Response
    ) -> bool:
        """Whether a GET has to follow this response to HEAD.

        Some registries refuse HEAD, for instance with 404, which is accepted
        if HEAD succeeded before. At a destination most content is absent at
        first, so that GET follows only if HEAD is not supported.
        """
        kind = "manifests" if "/manifests/" in request.url else "blobs"
        if response.status == 200:
            registry.answers_head.add(kind)
            return False
        if response.status == 405 or response.status in REDIRECTS:
            return True
        if response.status == 404 and kind in registry.answers_head:
            return False
        return not self._is_destination

    def resolve(
        self, place: Replica, reference: str, *, surely: bool = False
    ) -> Descriptor:
        """Resolve by HEAD, or by GET if the response to HEAD is incomplete.

        :param surely: whether the manifest was just pushed.
        """
        request = place.requests.manifest("HEAD", reference)
        request = dataclasses.replace(request, headers=_ACCEPT)
        registry = place.connect(request)
        response = registry.call(request, {200, *REFUSALS})
        again = self.is_asked_twice(registry, request, response)
        if response.status == 200:
            response.discard()
            found = description.described(request.what, reference, response)
            if found:
                self._unread[found.digest] = found.size
                return found
        elif surely or again or _is_bad_login(response):
            surely = surely or _is_bad_login(response)
            response.discard()
        else:
            # Quay and Artifactory deny access to absent content. The push
            # shows whether writing is permitted.
            raise errors.NotFound(
                str(
                    answers.from_response(
                        response, request.what, request.unknown
                    )
                )
            )
        request = dataclasses.replace(request, method="GET")
        return self.by_get(registry, request, reference, surely=surely)

    def by_get(
        self,
        registry: RegistrySession,
        request: Request,
        reference: str,
        *,
        surely: bool = False,
    ) -> Descriptor:
        """Resolve by reading the manifest; `surely` as for `resolve`."""
        request = dataclasses.replace(request, repeatable=False)
        try:
            return registry.retrier.retrying(
                request.what,
                lambda: self._read_manifest(registry, request, reference),
            )
        except (errors.AccessDenied, errors.Refused) as error:
            if self._is_destination and not surely:
                raise errors.NotFound(str(error)) from None
            raise

    def _read_manifest(
        self, registry: RegistrySession, request: Request, reference: str
    ) -> Descriptor:
        response = registry.call(request, {200})
        data = response.body(manifests.MAX_SIZE)
        claimed = description.claimed_digest(request.what, response)
        wanted = reference if digests.is_valid(reference) else claimed
        for digest in filter(None, (wanted, claimed)):
            actual = digests.of(data, digest.partition(":")[0])
            if actual != digest:
                raise errors.DigestMismatch(
                    f"{request.what}: digest is {actual}, expected {digest}",
                    actual=actual,
                )
        try:
            found = manifests.parse(
                data,
                description.manifest_type(response, data),
                wanted,
                request.what,
            ).descriptor
        except errors.InvalidContent as error:
            error.hint = error.hint or description.page_hint(response)
            raise
        self._manifests.add(found.digest, data)
        return found


def _is_bad_login(response: Response) -> bool:
    """Whether a registry without tokens refused the credentials."""
    header = response.headers.get("WWW-Authenticate", "")
    schemes = {challenge.scheme for challenge in parse_challenges(header)}
    return response.status == 401 and schemes == {"basic"}
