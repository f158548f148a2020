"""Verification of sigstore signatures with the keys of a policy."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from imageprep_client.oci import digest as digests
from imageprep_client.trust import fields
from imageprep_client.trust import payload as payloads
from imageprep_client.trust.fields import Malformed
from imageprep_client.trust.payload import Payload

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)

#: The curves that skopeo and podman support.
_CURVES = (ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

PublicKey = (
    ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
)


@functools.lru_cache(maxsize=256)
def load(content: bytes) -> PublicKey:
    """The public key in the first block of a PEM file.

    :raises Malformed: when it is not a supported key.
    """
    block = _PEM.search(content)
    if block is None:
        raise Malformed("", "no PEM block")
    try:
        key = serialization.load_pem_public_key(block[0])
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = str(error).splitlines()[0] if str(error) else "unreadable"
        raise Malformed("", f"not a public key: {reason[:100]}") from None
    if not isinstance(key, PublicKey):
        raise Malformed("", "neither an ECDSA, RSA nor Ed25519 key")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(
        key.curve, _CURVES
    ):
        raise Malformed("", f"the curve {key.curve.name} is not supported")
    return key


def verify(
    content: bytes, signature: str, keys: Sequence[tuple[str, PublicKey]]
) -> tuple[Payload, str]:
    """Verify a signature; returns its claim and the name of its key.

    :param signature: in base64.
    :raises Malformed: when no key verifies it, or the claim is malformed.
    """
    try:
        raw = fields.decoded(signature)
    except ValueError:
        raise Malformed("", "signature is not base64") from None
    for name, key in keys:
        if _is_by(key, raw, content):
            return payloads.parse(content, payloads.SIGSTORE), name
    raise Malformed("", "not made by an accepted key")


def fingerprint(key: PublicKey) -> str:
    """The name of a key in messages: the digest of its DER form."""
    der = key.public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    return digests.of(der)


def _is_by(key: PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
