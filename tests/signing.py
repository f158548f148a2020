"""Keys, and signatures as cosign makes and keeps them."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.referrers import tag_of
from imageprep_client.stores import base
from imageprep_client.testing import content
from imageprep_client.testing.streams import put

SIGNATURE = "dev.cosignproject.cosign/signature"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
KINDS: Mapping[str, Callable[[], Any]] = {
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def public_bytes(key: Any, form: Any = None) -> bytes:
    """The public key, as files have it."""
    made: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM,
        form or serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    return made


def sigstore(path: Path, **fields: object) -> Mapping[str, object]:
    """The requirement of a signature by the key in a file."""
    return {"type": "sigstoreSigned", "keyPath": str(path), **fields}


def use_attachments(home: Path, more: str = "") -> None:
    """Have sigstore signatures looked for in registries.

    :param more: further settings of registries.d.
    """
    settings = home / ".config/containers/registries.d"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "site.yaml").write_text(
        f"default-docker:\n  use-sigstore-attachments: true\n{more}"
    )


def claim(
    name: str, digest: str, kind: str = "cosign container image signature"
) -> bytes:
    """The claim of a signature."""
    return json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest},
                "type": kind,
            },
            "optional": {},
        }
    ).encode()


def sign(key: Any, payload: bytes) -> bytes:
    """The signature of a payload."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(payload, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(payload, padding.PKCS1v15(), hashes.SHA256())
    made: bytes = key.sign(payload)
    return made


def layer(
    payload: bytes, texts: Mapping[str, str], media_type: str = SIMPLE
) -> content.Piece:
    """The layer that has a payload.

    :param texts: its annotations; `SIGNATURE` is that of the signature.
    """
    descriptor = Descriptor.of(payload, media_type)
    described = dataclasses.replace(descriptor, annotations=texts)
    return content.Piece(described, payload)


def signed(payload: bytes, signature: bytes) -> content.Piece:
    """The layer that has a payload and its signature."""
    text = base64.b64encode(signature).decode()
    return layer(payload, {SIGNATURE: text})


def tag(digest: str) -> str:
    """The tag of the signatures of an image."""
    return f"{tag_of(digest)}.sig"


def attach(store: base.Store, key: Any, name: str, digest: str) -> None:
    """Sign an image under this name."""
    payload = claim(name, digest)
    layers = [signed(payload, sign(key, payload))]
    put(store, content.image("signature", layers), tag(digest))
