"""Requests to a registry, and those about one repository."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imageprep_client.http.connections import Body
from imageprep_client.http.transport import SentRequest
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

_NONE: Mapping[str, str] = types.MappingProxyType({})
_ANY_MANIFEST = {"Accept": ", ".join(mediatypes.ACCEPT)}
_INDEX = {"Accept": mediatypes.OCI_INDEX}


class Request(NamedTuple):
    """A request to a registry.

    :ivar url: absolute, or a path below the base of the registry.
    :ivar what: the object, as messages name it.
    :ivar unknown: the meaning of 404, where it is known.
    :ivar repository: the repository whose credentials are used.
    :ivar scopes: the scopes of the token.
    :ivar repeatable: whether it may be repeated; False for streams.
    :ivar dispensable: whether the object counts as absent if the registry
        redirects to another host, and that one refuses or does not answer.
    :ivar personal: whether the registry answers anybody, and tells more to
        users who are logged in.
    """

    method: str
    url: str
    what: str
    repository: str = ""
    scopes: Sequence[str] = ()
    headers: Mapping[str, str] = _NONE
    body: bytes | Body | None = None
    unknown: str | None = None
    repeatable: bool = True
    dispensable: bool = False
    personal: bool = False

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD")

    @property
    def counted_as(self) -> tuple[str, bool]:
        """The requests that a rate limit counts together with it."""
        return self.method, "/manifests/" in self.url

    @property
    def is_small(self) -> bool:
        """Whether it reads, and its answer is no blob."""
        return self.reads and "/blobs/" not in self.url


class RequestAhead(NamedTuple):
    """A GET that was sent at `begin`, and whose response is read later."""

    request: Request
    sent: SentRequest
    authorization: str | None
    begin: float


class Access(enum.Enum):
    """The purpose for which a repository is opened."""

    READ = ("pull",)
    WRITE = ("pull", "push")


class RepositoryRequests:
    """Makes requests about one repository.

    :ivar name: ``registry/repository`` as the user knows it.
    :ivar path: its name in the registry.
    :ivar access: what tokens permit; writing from the first write on, so that
        one token serves both.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.access = Access.READ

    def what(self, descriptor: Descriptor) -> str:
        return f"{self.name}@{descriptor.digest}"

    def request(
        self, method: str, path: str, what: str, unknown: str | None = None
    ) -> Request:
        actions = ",".join(self.access.value)
        return Request(
            method,
            f"/v2/{self.path}/{path}",
            what,
            repository=self.path,
            scopes=(f"repository:{self.path}:{actions}",),
            unknown=unknown,
        )

    def content(self, method: str, descriptor: Descriptor) -> Request:
        """A request about this manifest or blob."""
        kind = "manifests" if descriptor.is_manifest else "blobs"
        request = self.request(
            method,
            f"{kind}/{descriptor.digest}",
            self.what(descriptor),
            f"{kind[:-1]} unknown",
        )
        if descriptor.is_manifest:
            headers = {"Accept": descriptor.media_type}
            request = request._replace(headers=headers)
        return request

    def manifest(self, method: str, reference: str) -> Request:
        """A request about the manifest behind a tag or a digest."""
        mark = "@" if digests.is_valid(reference) else ":"
        return self.request(
            method,
            f"manifests/{reference}",
            f"{self.name}{mark}{reference}",
            "manifest unknown",
        )._replace(headers=_ANY_MANIFEST)

    def referrers(self, subject: Descriptor) -> Request:
        """The request for the list of the referrers of a manifest.

        GitHub's registry has none, and redirects to pages of another host that
        limit the rate of requests.
        """
        return self.request(
            "GET", f"referrers/{subject.digest}", self.what(subject)
        )._replace(headers=_INDEX, dispensable=True)
