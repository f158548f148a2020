"""Messages that carry their signature, verified by gpgv."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
import re
import tempfile
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.programs.process import Program

_STATUS = "[GNUPG:] "
_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[^\n]*\n(?P<body>.*?)"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_TIMEOUT = 60.0
# Each of these words of gpgv says why a signature does not count.
_BAD = {
    "BADSIG": "the signature is wrong",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key {} has expired",
    "REVKEYSIG": "the key {} was revoked",
    "ERRSIG": "signed by key {}, which is not accepted",
}


class GpgError(errors.StoreError):
    """GnuPG failed, or is not installed."""


class BadSignature(errors.InvalidContent):
    """A signature does not count."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signed:
    """A message whose signature is good.

    :ivar content: that was signed.
    :ivar fingerprint: of the primary key.
    """

    content: bytes
    fingerprint: str


def verify(message: bytes, keyrings: Sequence[bytes]) -> Signed:
    """The content of a message that exactly one accepted key has signed.

    :param keyrings: public keys, armored or not.
    :raises BadSignature: when the signature does not count.
    :raises GpgError: when gpgv cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="image-prepare-") as directory:
        ring, signed, content = (
            os.path.join(directory, name)
            for name in ("keys.gpg", "message", "content")
        )
        _write(ring, b"".join(map(binary, keyrings)))
        _write(signed, message)
        program = Program(
            "gpgv", {"GNUPGHOME": directory, "LC_ALL": "C"}, error=GpgError
        )
        finished = program.attempt(
            *("--status-fd", "1", "--keyring", ring),
            *("--output", content, "--", signed),
            timeout=_TIMEOUT,
        )
        fingerprint = _signer(finished.stdout, finished.status)
        with open(content, "rb") as file:
            return Signed(file.read(), fingerprint)


def binary(keyring: bytes) -> bytes:
    """The keys of a keyring, without armor.

    :raises BadSignature: when the armor is broken.
    """
    if not keyring.lstrip().startswith(b"-----BEGIN PGP "):
        return keyring
    keys = []
    for block in _ARMOR.finditer(keyring):
        # Headers end at an empty line; the checksum line begins with =.
        lines = [line.strip() for line in block["body"].split(b"\n")]
        body = lines[lines.index(b"") + 1 :] if b"" in lines else lines
        text = b"".join(x for x in body if not x.startswith(b"="))
        try:
            keys.append(base64.b64decode(text, validate=True))
        except binascii.Error:
            raise BadSignature("a key has broken armor") from None
    return b"".join(keys)


def _signer(told: str, status: int) -> str:
    """The fingerprint of the one key that made the one signature."""
    lines = [
        line.removeprefix(_STATUS).split()
        for line in told.splitlines()
        if line.startswith(_STATUS)
    ]
    words = [line for line in lines if line]
    for word, *rest in words:
        if reason := _BAD.get(word):
            raise BadSignature(reason.format(rest[0] if rest else "?"))
    by_word = {
        kind: [rest for word, *rest in words if word == kind]
        for kind in ("NEWSIG", "GOODSIG", "VALIDSIG")
    }
    if any(len(found) != 1 for found in by_word.values()) or status:
        raise BadSignature("not a message with exactly one signature")
    # The last field is the fingerprint of the primary key.
    return by_word["VALIDSIG"][0][-1]


def _write(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
