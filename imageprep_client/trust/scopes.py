"""Scopes: the names by which configuration files refer to an image."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Self

from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference

_DIRECTORIES = ("dir", "oci", "oci-archive", "sif")
_WITHOUT_SCOPES = ("docker-archive", "tarball")


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """An image as policies see it.

    :ivar transport: of containers-transports(5), such as ``docker``.
    :ivar scopes: the most specific one first.
    :ivar reference: its name in a registry, with tag or digest, or None.
    """

    transport: str
    scopes: Sequence[str]
    reference: Reference | None

    @classmethod
    def of(cls, image: Reference) -> Self:
        """The image of this name; its digest takes precedence over its tag."""
        if references.is_transport(image.registry):
            return cls._in_directory(image)
        image = dataclasses.replace(
            image, tag="" if image.digest else image.tag or "latest"
        )
        scopes = [str(image), *_parents(image.name)]
        return cls("docker", scopes, image)

    @classmethod
    def local(cls, name: str) -> Self:
        """An image in local storage."""
        return cls("containers-storage", [name], None)

    @classmethod
    def _in_directory(cls, image: Reference) -> Self:
        transport, _, directory = image.registry.partition(":")
        path = os.path.join(os.path.realpath(directory), image.repository)
        scopes = [f"{path}:{image.identifier}"]
        while path not in ("/", ""):
            scopes.append(path)
            path = os.path.dirname(path)
        return cls(transport, scopes, None)


def canonical(scope: str) -> str:
    """The spelling of a scope of registries that `Subject.scopes` has."""
    host, slash, rest = scope.partition("/")
    return f"{references.canonical(host)}{slash}{rest}"


def problem(transport: str, scope: str) -> str:
    """The reason why a scope matches no image of a transport; empty if none.

    :param scope: not the empty one, which matches all images.
    """
    if transport in _WITHOUT_SCOPES:
        return 'only the scope "" is supported'
    if transport not in _DIRECTORIES:
        return ""
    if not scope.startswith("/"):
        return "not an absolute path"
    if scope == "/":
        return 'use the scope ""'
    return "" if os.path.normpath(scope) == scope else "not a canonical path"


def _parents(name: str) -> Sequence[str]:
    """Repository, namespaces, registry, and wildcards for its domains."""
    scopes = [name]
    while "/" in name:
        name = name.rpartition("/")[0]
        scopes.append(name)
    domain = name.partition(":")[0]
    while "." in domain:
        domain = domain.partition(".")[2]
        scopes.append(f"*.{domain}")
    return scopes
