"""Signed identities: whether the name in a signature matches the image."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference
from imageprep_client.trust import scopes
from imageprep_client.trust.fields import Fields, Malformed


class SignedIdentity(Protocol):
    """The ``signedIdentity`` of a requirement."""

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        """Whether the name in a signature is acceptable for the image.

        :param image: None for one without a name in a registry.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class MatchExact:
    """Both names are equal, including the tag or digest."""

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        return image is not None and _is_exact(image, signed)


@dataclasses.dataclass(frozen=True, slots=True)
class MatchRepoDigestOrExact:
    """The default: an image named by digest needs only an equal repository."""

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        return image is not None and _is_repo_digest_or_exact(image, signed)


@dataclasses.dataclass(frozen=True, slots=True)
class MatchRepository:
    """The repositories are equal."""

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        return image is not None and image.name == signed.name


@dataclasses.dataclass(frozen=True, slots=True)
class ExactReference:
    """The name in the signature is this one, whatever the image is called."""

    reference: Reference

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        return _is_exact(self.reference, signed)


@dataclasses.dataclass(frozen=True, slots=True)
class ExactRepository:
    """The name in the signature belongs to this repository."""

    repository: Reference

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        return self.repository.name == signed.name


@dataclasses.dataclass(frozen=True, slots=True)
class RemapIdentity:
    """The image comes from a mirror: its signed name has another prefix."""

    prefix: str
    signed_prefix: str

    def matches(self, image: Reference | None, signed: Reference) -> bool:
        if image is None:
            return False
        name = image.name
        if name != self.prefix and not name.startswith(f"{self.prefix}/"):
            return _is_repo_digest_or_exact(image, signed)
        name = f"{self.signed_prefix}{name.removeprefix(self.prefix)}"
        try:
            original = Reference.parse(name)
        except errors.InvalidReference:
            return False
        if original.name != name:
            return False
        return _is_repo_digest_or_exact(
            dataclasses.replace(original, tag=image.tag, digest=image.digest),
            signed,
        )


def name(text: str) -> Reference:
    """Parse the name of an image in a policy or signature.

    :raises InvalidReference: when it is not valid.
    """
    if references.is_transport(text) or text.startswith("docker://"):
        raise errors.InvalidReference(
            f"{text[:300]!r}: not the name of an image in a registry"
        )
    return Reference.parse(text)


def parse(fields: Fields | None) -> SignedIdentity:
    """Parse the JSON form; None means the default.

    :raises Malformed: when it is not as specified.
    """
    if fields is None:
        return MatchRepoDigestOrExact()
    match kind := fields.text("type"):
        case "matchExact":
            fields.exactly("type")
            return MatchExact()
        case "matchRepoDigestOrExact":
            fields.exactly("type")
            return MatchRepoDigestOrExact()
        case "matchRepository":
            fields.exactly("type")
            return MatchRepository()
        case "exactReference":
            fields.exactly("type", "dockerReference")
            reference = _name(fields, "dockerReference")
            if not reference.tag and not reference.digest:
                raise Malformed(
                    fields.path("dockerReference"), "neither tag nor digest"
                )
            return ExactReference(reference)
        case "exactRepository":
            fields.exactly("type", "dockerRepository")
            return ExactRepository(_name(fields, "dockerRepository"))
        case "remapIdentity":
            fields.exactly("type", "prefix", "signedPrefix")
            return RemapIdentity(
                _prefix(fields, "prefix"), _prefix(fields, "signedPrefix")
            )
    raise Malformed(fields.path("type"), f"unknown type {kind[:50]!r}")


def _name(fields: Fields, key: str) -> Reference:
    try:
        return name(fields.text(key))
    except errors.InvalidReference as error:
        raise Malformed(fields.path(key), str(error)) from None


def _prefix(fields: Fields, key: str) -> str:
    """A registry, or the beginning of the name of an image."""
    text = fields.text(key)
    registry, _, path = text.partition("/")
    try:
        references.check_registry(registry)
        if path or text.endswith("/"):
            references.check_repository(path)
    except errors.InvalidReference as error:
        raise Malformed(fields.path(key), str(error)) from None
    return scopes.canonical(text)


def _is_exact(image: Reference, signed: Reference) -> bool:
    return bool(image.tag or image.digest) and image == signed


def _is_repo_digest_or_exact(image: Reference, signed: Reference) -> bool:
    if not signed.tag and not signed.digest:
        return False
    if image.tag:
        return image == signed
    return bool(image.digest) and image.name == signed.name
