"""Detached signatures, verified by gpgv."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from imageprep_client.programs.gpg import verifying
from imageprep_client.programs.gpg.verifying import BadSignature

#: MD5, SHA-1 and RIPEMD-160, by their numbers in RFC 9580.
_WEAK = {"1": "MD5", "2": "SHA-1", "3": "RIPEMD-160"}
_INLINE = b"-----BEGIN PGP SIGNED MESSAGE"


@dataclasses.dataclass(frozen=True, slots=True)
class DetachedSignature:
    """A good signature.

    :ivar fingerprint: of the primary key.
    :ivar made: seconds since the epoch.
    """

    fingerprint: str
    made: int


def verify_detached(
    signature: bytes,
    content: bytes,
    keyrings: Sequence[bytes],
    signers: Collection[str],
) -> DetachedSignature:
    """Verify that one of the listed keys has signed this content.

    gpgv accepts revoked and expired keys and broken hashes, so its status
    lines decide, and its exit status does not.

    :param signers: fingerprints of primary keys or of their subkeys.
    :raises BadSignature: if the signature is not accepted.
    :raises GpgError: when gpgv cannot be run.
    """
    if signature.lstrip().startswith(_INLINE):
        raise BadSignature("signed inline, not by a detached signature")
    with tempfile.TemporaryDirectory(prefix="image-prepare-") as directory:
        signed, message = (
            Path(directory, name) for name in ("signature", "content")
        )
        signed.write_bytes(signature)
        message.write_bytes(content)
        lines, fields = verifying.run(
            Path(directory), keyrings, "--", str(signed), str(message)
        )
    if len(fields) < 10 or any(word == "PLAINTEXT" for word, *_ in lines):
        raise BadSignature("no detached signature")
    if weak := _WEAK.get(fields[7]):
        raise BadSignature(f"made with {weak}, which is broken")
    if not {fields[0], fields[-1]} & {_plain(signer) for signer in signers}:
        raise BadSignature(f"made by {fields[-1]}, which is not listed")
    made = fields[2]
    return DetachedSignature(fields[-1], int(made) if made.isdigit() else 0)


def _plain(fingerprint: str) -> str:
    """A fingerprint as gpgv prints it."""
    return fingerprint.replace(" ", "").upper().removeprefix("0X")
