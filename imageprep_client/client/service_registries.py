"""Registries, and how podman reaches them, for the services of a node."""

from __future__ import annotations

import base64
import json
import platform
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.host import inputs
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform, architecture
from imageprep_client.oci.reference import Reference
from imageprep_client.programs.podman import PullOptions
from imageprep_client.service.images import RemoteImage
from imageprep_client.stores import verify
from imageprep_client.stores.base import ReadableStore
from imageprep_client.transfer import nearest


class ServiceRegistries:
    """Registries, and how podman reaches them; `images.ImageRegistries`.

    :param directory: for a file of credentials.
    """

    def __init__(
        self, stores: Stores, options: RegistryOptions, directory: Path
    ) -> None:
        self._stores = stores
        self._options = options
        self._directory = directory

    def look_up(self, reference: Reference) -> RemoteImage:
        store = self._stores.source(reference)
        described = _for_this_host(store, reference, reference.identifier)
        manifest = verify.manifest(store, described[-1])
        size = sum(layer.size for layer in manifest.layers)
        return RemoteImage(described[0].digest, size)

    def admit(self, reference: Reference, digest: str) -> None:
        admission = self._stores.admission(reference)
        if admission is not None:
            store = self._stores.source(reference)
            # As podman does when it pulls: of an index this host's image.
            *_, image = _for_this_host(store, reference, digest)
            admission.admit(store, [image])

    def pull_options(self, reference: Reference) -> PullOptions:
        insecure = self._stores.insecure([reference.registry])
        return PullOptions(
            insecure=bool(insecure),
            authfile=self._authfile(),
            cert_dir=self._certificates(),
        )

    def _authfile(self) -> str | None:
        """A file with the credentials that only the options have."""
        if not self._options.credentials:
            return self._options.authfile
        path = self._directory / "auth.json"
        auths = {
            registry: {
                "auth": base64.b64encode(
                    f"{one.username}:{one.password}".encode()
                ).decode()
            }
            for registry, one in self._options.credentials.items()
        }
        if self._options.authfile:
            content = json.loads(inputs.load(self._options.authfile))
            auths = {**content.get("auths", {}), **auths}
        # The directory is this user's alone.
        path.write_text(json.dumps({"auths": auths}))
        return str(path)

    def _certificates(self) -> str | None:
        if not self._options.cacert:
            return None
        directory = self._directory / "certificates"
        directory.mkdir(exist_ok=True)
        content = inputs.load(self._options.cacert)
        (directory / "ca.crt").write_bytes(content)
        return str(directory)


def _for_this_host(
    store: ReadableStore, reference: Reference, identifier: str
) -> list[Descriptor]:
    """The descriptor of an image, and of an index its manifest for this host.

    :raises NotFound: when the index has none.
    """
    descriptor = nearest.resolve(store, identifier)
    manifest = verify.manifest(store, descriptor)
    if not manifest.is_index:
        return [descriptor]
    here = Platform("linux", architecture(platform.machine()))
    fitting = [child for child in manifest.manifests if child.is_for(here)]
    # podman takes one without a platform where no other fits.
    fitting += [child for child in manifest.manifests if not child.platform]
    if not fitting:
        raise errors.NotFound(f"{reference}: has no image for {here}")
    return [descriptor, fitting[0]]
