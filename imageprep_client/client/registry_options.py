"""How registries are reached, as commands and environments say it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Self

from imageprep_client import errors
from imageprep_client.client import locations
from imageprep_client.heat.parameters import (
    INSECURE_REGISTRIES,
    MIRROR,
    Credential,
    PrepareParameters,
)
from imageprep_client.host import inputs, undercloud
from imageprep_client.http import urls
from imageprep_client.http.transport import TLS, make_context
from imageprep_client.oci import reference as references
from imageprep_client.oci.location import Location
from imageprep_client.oci.redaction import redacted
from imageprep_client.oci.reference import DOCKER_HUB
from imageprep_client.stores.registry.auth.credentials import (
    Credentials,
    default_files,
)
from imageprep_client.stores.registry.endpoints import registries_conf
from imageprep_client.stores.registry.endpoints.hosts import (
    Hosts,
    certificates,
    check_insecure,
    mirror_url,
)
from imageprep_client.transfer.engine import CONCURRENCY

__all__ = ["CONCURRENCY", "RegistryOptions", "hosts"]

#: The parameter that messages name as the origin of its credentials.
_CREDENTIALS = "ContainerImageRegistryCredentials"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How registries and trees are reached.

    :ivar image_serve: the tree that every push destination stands for; None:
        none, unless a destination is this host's own port 8787.
    :ivar insecure_registries: may be used without TLS or unverified.
    :ivar cacert: a file of certificate authorities to trust.
    :ivar authfile: credentials, as ``podman login`` writes them.
    :ivar token_servers: ``REGISTRY=URL`` of token servers that may have the
        credentials of a registry although they are on another site.
    :ivar concurrency: the maximum number of concurrent requests to each
        registry.
    :ivar credentials: by registry; they go before those of files.
    :ivar credentials_from: the origin of `credentials` in messages.
    :ivar docker_hub_mirror: a URL or a registry.
    :ivar signature_policy: the policy file; None: that of the user or host.
    """

    image_serve: str | None = None
    insecure_registries: tuple[str, ...] = ()
    cacert: str | None = None
    authfile: str | None = None
    token_servers: tuple[str, ...] = ()
    concurrency: int = CONCURRENCY
    credentials: Mapping[str, Credential] = dataclasses.field(
        default_factory=dict
    )
    credentials_from: str = "the options"
    docker_hub_mirror: str | None = None
    signature_policy: str | None = None

    def location(self, registry_url: str | None = None) -> Location:
        """The place that a command means.

        :param registry_url: as the user named it; None: the tree of
            `image_serve`, or else the undercloud's registry.
        :raises InvalidReference: when it is no place for images.
        :raises InvalidArgument: when it is a file without its kind.
        """
        if registry_url is None and self.image_serve:
            path = os.path.abspath(self.image_serve)
            return Location(f"image-serve:{path}")
        return locations.place(registry_url or undercloud.registry())

    def check_destinations(self, parameters: PrepareParameters) -> None:
        """Check that no entry has a directory where a tree takes everything.

        :raises InvalidFile: when one has.
        """
        for entry in parameters.all_entries:
            place = entry.push_destination
            if (
                self.image_serve
                and isinstance(place, str)
                and references.is_transport(references.split(place)[0])
            ):
                raise entry.error(
                    f"{place}: a directory, and --image-serve names another",
                    "push_destination",
                    "name the registry that serves the tree, or leave"
                    " --image-serve out",
                )

    def with_credentials(
        self, credentials: Mapping[str, Credential | None]
    ) -> Self:
        """With these, where there are any."""
        given = {name: one for name, one in credentials.items() if one}
        return dataclasses.replace(
            self, credentials={**self.credentials, **given}
        )

    def with_parameters(self, parameters: PrepareParameters) -> Self:
        """With what heat environments say of registries.

        :raises InvalidFile: when a parameter names none.
        """
        mirror = parameters.docker_hub_mirror
        with parameters.blamed(INSECURE_REGISTRIES):
            for name in parameters.insecure_registries:
                check_insecure(name)
        with parameters.blamed(MIRROR):
            mirror = mirror and mirror_url(mirror)
        return dataclasses.replace(
            self,
            insecure_registries=(
                *self.insecure_registries,
                *parameters.insecure_registries,
            ),
            credentials={**self.credentials, **parameters.credentials},
            credentials_from=_CREDENTIALS,
            docker_hub_mirror=mirror,
        )


def hosts(options: RegistryOptions) -> Hosts:
    """How registries are spoken to.

    :raises InputError: when options or files cannot be used.
    """
    explicit = {
        registry: (credential.username, credential.password)
        for registry, credential in options.credentials.items()
    }
    files = default_files(options.authfile, os.environ, pathlib.Path.home())
    registries = registries_conf.load(os.environ, pathlib.Path.home())
    mirror = options.docker_hub_mirror
    _check_cacert(options.cacert)
    try:
        return Hosts(
            insecure=list(options.insecure_registries),
            cacert=options.cacert,
            mirrors={DOCKER_HUB: mirror} if mirror else {},
            credentials=Credentials(
                explicit, files, source=options.credentials_from
            ),
            registries=registries,
            certs_d=certificates(pathlib.Path.home()),
            token_servers=_token_servers(options.token_servers),
        )
    except errors.InvalidReference as error:
        raise errors.InvalidArgument(
            f"--insecure-registry: {error}", hint=error.hint
        ) from error


def _token_servers(texts: Iterable[str]) -> dict[str, str]:
    """The URL of each registry's token server.

    :raises InvalidArgument: when a text is no ``REGISTRY=https://...``, or
        a registry has two.
    """
    servers: dict[str, str] = {}
    for text in texts:
        registry, _, url = text.partition("=")
        try:
            registry = references.check_registry(registry)
        except errors.InvalidReference:
            url = ""
        if not urls.is_https(url):
            raise errors.InvalidArgument(
                f"--token-server {redacted(text)[:200]!r}: expected"
                " <registry>=https://..."
            )
        if servers.setdefault(registry, url) != url:
            raise errors.InvalidArgument(
                f"--token-server {registry}: given twice, with different URLs"
            )
    return servers


def _check_cacert(path: str | None) -> None:
    """Read the file now, and not at the first registry with TLS."""
    if path:
        inputs.load(path)
        make_context(TLS(ca_files=(path,)))
