"""The catalog of a registry: the list of its repositories."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.stores.registry.lists import listing
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.session import RegistrySession

_NO_CATALOG = (
    "many public registries keep no catalog; name an image, or a registry of"
    " your own with --registry-url"
)
#: The realm of Harbor's requests for a password.
_HARBOR = "harbor"


class RegistryCatalog:
    """The repositories of one registry.

    :param name: the registry as the user knows it.
    :param connect: opens the session.
    :param warn: is told of a list that may be empty for want of a login.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], RegistrySession],
        warn: Callable[[str], object],
    ) -> None:
        self._name = name
        self._connect = connect
        self._warn = warn

    def repositories(self) -> list[str]:
        """All valid names, sorted.

        The catalog is not in the OCI distribution spec, so a registry may have
        none, or restrict it to administrators, as Harbor does: its own list of
        repositories is read for other users. Quay answers anybody, and lists
        private repositories only for users who may see them.
        """
        request = Request(
            "GET",
            f"/v2/_catalog?n={listing.PAGE}",
            f"{self._name}: catalog of its images",
            scopes=("registry:catalog:*",),
            unknown="the registry keeps none",
            personal=True,
        )
        try:
            names = self._names(request)
        except errors.NotFound as error:
            error.hint = _NO_CATALOG
            raise
        except errors.AccessDenied as error:
            error.hint = f"{error.hint}; {_NO_CATALOG}"
            # Harbor asks for a password like this.
            if self._connect().authenticator.password_realm() != _HARBOR:
                raise
            try:
                names = self._of_projects()
            except (errors.NotFound, errors.AccessDenied):
                raise error from None
            except errors.Refused as refused:
                # Without a status, it is there and cannot be read.
                raise (error if refused.status else refused) from None
        authenticator = self._connect().authenticator
        if not names and authenticator.is_anonymous():
            self._warn(
                f"{self._name}: its catalog lists nothing to users without a"
                f" login: {authenticator.explain('')}"
            )
        return sorted(filter(references.is_repository, names))

    def _of_projects(self) -> list[str]:
        """The repositories that a user of Harbor may see.

        Its catalog is for administrators.

        :raises StoreError: when the list does not exist or fails.
        """
        request = Request(
            "GET",
            "/api/v2.0/repositories?page_size=100",
            f"{self._name}: repositories of its projects",
        )
        return listing.names(self._connect(), request, _names_of)

    def _names(self, request: Request) -> list[str]:
        registry = self._connect()
        parse = listing.below("repositories")
        try:
            return listing.names(registry, request, parse)
        except errors.ServerFault as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
        # The token server of Quay knows scopes of repositories only.
        request = request._replace(scopes=())
        return listing.names(registry, request, parse)


def _names_of(page: Any) -> list[Any]:
    """The names in a page of Harbor's list."""
    if not isinstance(page, list):
        raise TypeError("page")
    return [repository["name"] for repository in page]
