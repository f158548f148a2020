"""Blobs into a registry: mounted from elsewhere, or sent."""

from __future__ import annotations

import dataclasses
import threading
import urllib.parse

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.transport import Response
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.registry import blob
from imageprep_client.stores.registry.repository import RepositoryRequests
from imageprep_client.stores.registry.session import RegistrySession

#: A mount saves an upload; after so many faults the upload is begun.
_MOUNT_FAULTS = 2


class Uploads:
    """The uploads of one repository, those that are open among them."""

    def __init__(self, repository: RepositoryRequests) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}

    def mount(
        self, registry: RegistrySession, descriptor: Descriptor, origin: str
    ) -> bool:
        """Take a blob over from the repository `origin`, if that works.

        A registry that refuses is no failure: the push that comes next
        says what is wrong, if anything is.
        """
        query = urllib.parse.urlencode(
            {"mount": descriptor.digest, "from": origin}
        )
        request = self._repository.request(
            "POST",
            f"blobs/uploads/?{query}",
            self._repository.what(descriptor),
        )
        scopes = (*request.scopes, f"repository:{origin}:pull")
        request = dataclasses.replace(request, scopes=scopes, repeatable=False)
        faults = 0

        def post() -> Response | None:
            nonlocal faults
            try:
                return registry.call(request, {201, 202})
            except (errors.TooManyRequests, errors.Unreachable):
                raise
            except errors.StoreError as error:
                faults += 1
                if error.temporary and faults < _MOUNT_FAULTS:
                    raise
                return None

        response = registry.retrier.retrying(request.what, post)
        if response is None:
            return False
        response.discard()
        if response.status == 202:
            # The registry opened an upload instead: the next push uses it.
            with self._lock:
                self._open[descriptor.digest] = self._location(response)
        return response.status == 201

    def send(
        self,
        registry: RegistrySession,
        expected: Descriptor,
        body: bytes | blob.Upload,
    ) -> None:
        """POST for a place, then one PUT of everything.

        An upload that broke may hold a part of the content already, so it
        is never continued: the next attempt begins a new one.
        """
        what = self._repository.what(expected)
        with self._lock:
            kept = self._open.pop(expected.digest, None)
        location = kept
        if location is None:
            begin = self._repository.request("POST", "blobs/uploads/", what)
            repeatable = isinstance(body, blob.Upload)
            response = registry.call(
                dataclasses.replace(begin, repeatable=repeatable), {202}
            )
            response.discard()
            location = self._location(response)
        joint = "&" if urllib.parse.urlsplit(location).query else "?"
        query = urllib.parse.urlencode({"digest": expected.digest})
        request = dataclasses.replace(
            self._repository.request("PUT", "", what),
            url=f"{location}{joint}{query}",
            headers={"Content-Type": "application/octet-stream"},
            body=body,
            repeatable=False,
        )
        try:
            registry.call(request, {200, 201, 202, 204}).discard()
        except BaseException as error:
            if kept and isinstance(error, errors.NotFound):
                # What a mount opened was cleaned up since; another try
                # opens its own.
                raise errors.ServerFault(str(error)) from None
            failure = getattr(body, "failure", None)
            if failure is None:
                raise
            self._cancel(registry, location)
            raise failure from None

    def _cancel(self, registry: RegistrySession, location: str) -> None:
        """Give an upload up; registries clean up by themselves, too."""
        request = dataclasses.replace(
            self._repository.request("DELETE", "", self._repository.name),
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
            response.url, location, f"{self._repository.name}: upload location"
        )
