"""Requests about one repository, as `Registry.call` takes them."""

from __future__ import annotations

import enum

from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.registry.session import Request


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
        )
