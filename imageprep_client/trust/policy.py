"""Policies: parsing and searching containers-policy.json(5)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.oci import document as documents
from imageprep_client.trust import identity, scopes
from imageprep_client.trust.fields import Fields, Malformed
from imageprep_client.trust.identity import SignedIdentity
from imageprep_client.trust.scopes import Subject

_KEY_TYPES = (
    "GPGKeys",
    "signedByGPGKeys",
    "X509Certificates",
    "signedByX509CAs",
)
_REKOR = (
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """The public keys of a requirement.

    :ivar paths: the files that contain them; empty if they are in `data`.
    """

    paths: Sequence[str] = ()
    data: Sequence[bytes] = ()

    @property
    def missing(self) -> Sequence[str]:
        """The files that do not exist."""
        return [path for path in self.paths if not os.path.exists(path)]

    def __str__(self) -> str:
        return ", ".join(self.paths) or "the key in the policy"


@dataclasses.dataclass(frozen=True, slots=True)
class AcceptAnything:
    """``insecureAcceptAnything``."""

    def __str__(self) -> str:
        return "insecureAcceptAnything"


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """``reject``."""

    def __str__(self) -> str:
        return "reject"


@dataclasses.dataclass(frozen=True, slots=True)
class SignedBy:
    """``signedBy``: signed by a GPG key."""

    keys: Keys
    identity: SignedIdentity

    def __str__(self) -> str:
        return f"signedBy {self.keys}"


@dataclasses.dataclass(frozen=True, slots=True)
class SigstoreSigned:
    """``sigstoreSigned``: signed in the format of sigstore."""

    keys: Keys
    identity: SignedIdentity

    def __str__(self) -> str:
        return f"sigstoreSigned {self.keys}"


@dataclasses.dataclass(frozen=True, slots=True)
class Unsupported:
    """A valid requirement that cannot be evaluated here.

    :ivar kind: its type.
    :ivar feature: the part of it that is not supported.
    """

    kind: str
    feature: str

    def __str__(self) -> str:
        return f"{self.kind} with {self.feature}"


Requirement = AcceptAnything | Reject | SignedBy | SigstoreSigned | Unsupported


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """The requirements for an image, all of which have to be met.

    :ivar scope: the scope that they belong to, such as ``docker quay.io/ns``.
    """

    scope: str
    requirements: Sequence[Requirement]

    @property
    def accepts_anything(self) -> bool:
        return all(isinstance(r, AcceptAnything) for r in self.requirements)


ANYTHING = Rule("no policy file", (AcceptAnything(),))


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """The content of a policy file.

    :ivar transports: requirements by transport and scope.
    """

    path: str
    default: Sequence[Requirement]
    transports: Mapping[str, Mapping[str, Sequence[Requirement]]]

    def rule(self, subject: Subject) -> Rule:
        """The requirements of the most specific scope."""
        rules = self.transports.get(subject.transport, {})
        for scope in subject.scopes:
            if scope in rules:
                return Rule(f"{subject.transport} {scope}", rules[scope])
        if "" in rules:
            return Rule(f'{subject.transport} ""', rules[""])
        return Rule("default", self.default)


def parse(content: bytes, path: str) -> Policy:
    """Parse a policy, as strictly as skopeo and podman do.

    :raises InvalidFile: when anything in it is not as specified.
    """
    try:
        fields = Fields(documents.parse(content, "policy"))
        fields.only("default", "transports")
        if "default" not in fields:
            raise Malformed("default", "missing")
        default = _requirements(fields, "default")
        transports: dict[str, dict[str, Sequence[Requirement]]] = {}
        if "transports" in fields:
            outer = fields.part("transports")
            for transport in outer.names:
                inner = outer.part(transport)
                known = transports[transport] = {}
                for scope in inner.names:
                    place = inner.path(scope[:100])
                    if scope and (problem := scopes.problem(transport, scope)):
                        raise Malformed(place, problem)
                    name = scope
                    if transport == "docker":
                        name = scopes.canonical(scope)
                    if name in known:
                        raise Malformed(place, f"a second {name[:100]}")
                    known[name] = _requirements(inner, scope)
    except Malformed as error:
        raise errors.InvalidFile(
            path,
            error.reason,
            key=error.key,
            hint="containers-policy.json(5) describes the format",
        ) from None
    except errors.InvalidContent as error:
        raise errors.InvalidFile(path, str(error)) from None
    return Policy(path, default, transports)


def _requirements(fields: Fields, name: str) -> Sequence[Requirement]:
    value, key = fields.value(name), fields.path(name)
    if not isinstance(value, list) or not value:
        raise Malformed(key, "not a list of requirements, or empty")
    return [
        _requirement(Fields(one, f"{key}[{number}]"))
        for number, one in enumerate(value)
    ]


def _requirement(fields: Fields) -> Requirement:
    match kind := fields.text("type"):
        case "insecureAcceptAnything":
            fields.exactly("type")
            return AcceptAnything()
        case "reject":
            fields.exactly("type")
            return Reject()
        case "signedBy":
            return _signed_by(fields)
        case "sigstoreSigned":
            return _sigstore_signed(fields)
        case "signedBaseLayer":
            fields.exactly("type", "baseLayerIdentity")
            identity.parse(fields.part("baseLayerIdentity"))
            return Unsupported(kind, "baseLayerIdentity")
    raise Malformed(fields.path("type"), f"unknown type {kind[:50]!r}")


def _signed_by(fields: Fields) -> Requirement:
    names = ("keyPath", "keyPaths", "keyData")
    fields.only("type", "keyType", "signedIdentity", *names)
    key_type = fields.text("keyType")
    if key_type not in _KEY_TYPES:
        raise Malformed(
            fields.path("keyType"), f"unknown type {key_type[:50]!r}"
        )
    _one(fields, names)
    keys, signed = _keys(fields), _identity(fields)
    if key_type != "GPGKeys":
        return Unsupported("signedBy", f"keyType {key_type}")
    return SignedBy(keys, signed)


def _sigstore_signed(fields: Fields) -> Requirement:
    names = ("keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki")
    fields.only("type", "signedIdentity", *names, *_REKOR)
    source = _one(fields, names)
    rekor = [name for name in _REKOR if name in fields]
    if len(rekor) > 1:
        raise Malformed(fields.key, f"only one of {', '.join(rekor)}")
    signed = _identity(fields)
    for name in (source, *rekor):
        if name in ("fulcio", "pki"):
            fields.part(name)
        if name in ("fulcio", "pki") or name in _REKOR:
            return Unsupported("sigstoreSigned", name)
    return SigstoreSigned(_keys(fields), signed)


def _one(fields: Fields, names: Sequence[str]) -> str:
    """The one of these fields that is given."""
    given = [name for name in names if name in fields]
    if len(given) != 1:
        raise Malformed(fields.key, f"not exactly one of {', '.join(names)}")
    return given[0]


def _keys(fields: Fields) -> Keys:
    if "keyPath" in fields:
        return Keys(paths=(fields.text("keyPath"),))
    if "keyPaths" in fields:
        return Keys(paths=fields.texts("keyPaths"))
    if "keyData" in fields:
        return Keys(data=(fields.data("keyData"),))
    return Keys(data=fields.datas("keyDatas"))


def _identity(fields: Fields) -> SignedIdentity:
    given = "signedIdentity" in fields
    return identity.parse(fields.part("signedIdentity") if given else None)
