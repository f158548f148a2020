"""Checks of images against the signature policy of this host."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify
from imageprep_client.trust import payload as payloads
from imageprep_client.trust import policy as policies
from imageprep_client.trust import signatures
from imageprep_client.trust.fields import Malformed
from imageprep_client.trust.kept import KeptSignatures
from imageprep_client.trust.lookaside import Lookasides
from imageprep_client.trust.payload import Payload
from imageprep_client.trust.policy import (
    AcceptAnything,
    Keys,
    Policy,
    Reject,
    Requirement,
    Rule,
    SignedBy,
    SigstoreSigned,
    Unsupported,
)
from imageprep_client.trust.scopes import Subject
from imageprep_client.trust.signatures import Signature, Signatures

_MAX_KEY = 1 << 20
_NO_SIGNATURE = "no signature"
#: Reasons that a refusal lists; each signature may have its own.
_REASONS = 3


class Trust:
    """The policy of this host, and the locations of signatures.

    :param policy: None: there is no policy file.
    :param lookasides: loads the configuration when it is first used.
    :param fetch: returns the content of an http(s) URL; None if it has none.
    """

    def __init__(
        self,
        policy: Policy | None,
        lookasides: Callable[[], Lookasides],
        kept: KeptSignatures,
        fetch: Callable[[str], bytes | None],
    ) -> None:
        self.policy = policy
        self._lookasides = functools.lru_cache(maxsize=1)(lookasides)
        self._kept = kept
        self._fetch = fetch

    def rule(self, subject: Subject) -> Rule:
        """The requirements for an image."""
        return self.policy.rule(subject) if self.policy else policies.ANYTHING

    def admission(self, subject: Subject, name: str) -> Admission | None:
        """The check of an image; None if anything is accepted.

        :param name: of the image, for messages.
        """
        rule = self.rule(subject)
        if self.policy is None or rule.accepts_anything:
            return None
        attached = any(
            isinstance(one, SigstoreSigned) for one in rule.requirements
        )
        where = Signatures(
            self._lookasides(), subject, self._fetch, attached=attached
        )
        return Admission(
            name, self.policy.path, subject, rule, where, self._kept
        )

    def beside(
        self, subject: Subject, manifest: Descriptor
    ) -> Sequence[bytes]:
        """The unverified signatures of a manifest in its lookaside.

        Empty where no lookaside is configured.

        :raises StoreError: when one cannot be read.
        """
        lookasides = self._lookasides()
        if not lookasides.is_configured(subject):
            return []
        where = Signatures(lookasides, subject, self._fetch, attached=False)
        return list(where.beside(manifest))


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """Decides whether one image may be copied."""

    name: str
    policy_path: str
    subject: Subject
    rule: Rule
    signatures: Signatures
    kept: KeptSignatures

    def admit(
        self, source: base.ReadableStore, manifests: Sequence[Descriptor]
    ) -> str:
        """See `transfer.admission.Admits`.

        :raises PolicyRefused: when the policy does not accept the image.
        """
        accepted: dict[str, None] = {}
        for manifest in manifests:
            accepted.update(dict.fromkeys(self._manifest(source, manifest)))
        return "; ".join(accepted)

    def _manifest(
        self, source: base.ReadableStore, manifest: Descriptor
    ) -> Sequence[str]:
        """The keys that meet the requirements; cached signatures first."""
        for requirement in self.rule.requirements:
            if isinstance(requirement, Reject | Unsupported):
                raise self._refused(requirement, manifest, _flat(requirement))
        repository = source.registry + "/" + source.repository
        if kept := self.kept.get(repository, manifest.digest):
            try:
                return self._all(kept, source, manifest)
            except errors.PolicyRefused:
                # The image may have other signatures by now.
                pass
        candidates = self.signatures.find(source, manifest)
        accepted = self._all(candidates, source, manifest)
        self.kept.put(repository, manifest.digest, candidates)
        return accepted

    def _all(
        self,
        candidates: Sequence[Signature],
        source: base.ReadableStore,
        manifest: Descriptor,
    ) -> Sequence[str]:
        return [
            self._one(requirement, candidates, source, manifest)
            for requirement in self.rule.requirements
            if not isinstance(requirement, AcceptAnything)
        ]

    def _one(
        self,
        requirement: Requirement,
        candidates: Sequence[Signature],
        source: base.ReadableStore,
        manifest: Descriptor,
    ) -> str:
        """The requirement with the key that meets it.

        :raises PolicyRefused: when none does.
        """
        # As for sigstore, the import takes time that few policies need.
        from imageprep_client.programs import gpg

        reasons: dict[str, None] = {}
        if not isinstance(requirement, SignedBy | SigstoreSigned):
            raise self._refused(requirement, manifest, _flat(requirement))
        try:
            keys = _load(requirement.keys)
            check = _checker(requirement, keys)
        except (errors.InvalidFile, Malformed) as error:
            raise self._refused(requirement, manifest, str(error)) from error
        kind = signatures.SIGNATURE_TYPE
        wanted = kind if isinstance(requirement, SigstoreSigned) else ""
        for one in candidates:
            if one.media_type != wanted:
                continue
            try:
                claim, key = check(one)
                self._match(claim, requirement, source, manifest)
            except (Malformed, gpg.BadSignature) as error:
                reasons[str(error)] = None
            else:
                return f"{requirement} ({key})"
        raise self._refused(requirement, manifest, _summary(list(reasons)))

    def _match(
        self,
        claim: Payload,
        requirement: SignedBy | SigstoreSigned,
        source: base.ReadableStore,
        manifest: Descriptor,
    ) -> None:
        """Check that a signature was made for this image.

        :raises Malformed: when it was made for another one.
        """
        actual = manifest.digest
        algorithm = claim.digest.partition(":")[0]
        if algorithm != actual.partition(":")[0]:
            content = verify.manifest(source, manifest).content
            actual = digests.of(content, algorithm)
        if claim.digest != actual:
            raise Malformed("", f"signed for the digest {claim.digest}")
        if claim.name is None or not requirement.identity.matches(
            self.subject.reference, claim.name
        ):
            raise Malformed("", f"signed for the name {claim.text[:200]!r}")

    def _refused(
        self, requirement: Requirement, manifest: Descriptor, reason: str
    ) -> errors.PolicyRefused:
        return errors.PolicyRefused(
            f"{self.name} ({manifest.digest}): refused by {self.policy_path},"
            f" scope {self.rule.scope}, requirement {requirement}: {reason}",
            hint=self._hint(requirement, reason),
        )

    def _hint(self, requirement: Requirement, reason: str) -> str:
        if (
            isinstance(requirement, SigstoreSigned)
            and reason == _NO_SIGNATURE
            and not self.signatures.attached
        ):
            return (
                "signatures in the registry are used only where registries.d"
                " has use-sigstore-attachments: true"
            )
        if isinstance(requirement, SignedBy | SigstoreSigned):
            if requirement.keys.missing:
                return "the public key of the signer must be on this host"
            return f"the image must be signed by {requirement.keys}"
        return (
            "see which requirement applies with: openstack image-prepare"
            " policy show IMAGE"
        )


Check = Callable[[Signature], tuple[Payload, str]]


def _checker(
    requirement: SignedBy | SigstoreSigned, keys: Sequence[tuple[str, bytes]]
) -> Check:
    """The function that verifies a signature and returns claim and key."""
    if isinstance(requirement, SigstoreSigned):
        from imageprep_client.trust import sigstore

        loaded = []
        for name, content in keys:
            try:
                loaded.append((name, sigstore.load(content)))
            except Malformed as error:
                raise Malformed(name, error.reason) from None
        named = [(sigstore.fingerprint(key), key) for _, key in loaded]

        def of_sigstore(signature: Signature) -> tuple[Payload, str]:
            made = signature.annotations.get(signatures.ANNOTATION)
            if not isinstance(made, str):
                raise Malformed(signatures.ANNOTATION, "no such annotation")
            return sigstore.verify(signature.content, made, named)

        return of_sigstore

    from imageprep_client.programs import gpg

    rings = [content for _, content in keys]

    def of_gpg(signature: Signature) -> tuple[Payload, str]:
        signed = gpg.verify(signature.content, rings)
        return (
            payloads.parse(signed.content, payloads.SIMPLE),
            signed.fingerprint,
        )

    return of_gpg


def _load(keys: Keys) -> Sequence[tuple[str, bytes]]:
    """The names and contents of keys.

    :raises InvalidFile: when a file cannot be read.
    """
    if keys.paths:
        return [(path, inputs.load(path, _MAX_KEY)) for path in keys.paths]
    return [("the key in the policy", content) for content in keys.data]


def _flat(requirement: Requirement) -> str:
    if isinstance(requirement, Unsupported):
        return "this program cannot evaluate it, so nothing is accepted"
    return "the policy rejects every image of this scope"


def _summary(reasons: Sequence[str]) -> str:
    if not reasons:
        return _NO_SIGNATURE
    more = len(reasons) - _REASONS
    told = "; ".join(reasons[:_REASONS])
    return f"{told}; and {more} more" if more > 0 else told
