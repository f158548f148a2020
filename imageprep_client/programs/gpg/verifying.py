"""Messages that carry their signature, verified by gpgv."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs import confined

_STATUS = "[GNUPG:] "
_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[^\n]*\n(?P<body>.*?)"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
#: A signed message is compressed, and may be so without bound.
_LIMITS = confined.Limits(
    seconds=20, memory=512 * confined.MIB, written=confined.MIB
)
# Words of gpgv, each with the reason why a signature is not accepted.
_BAD = {
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key {} has expired",
    "REVKEYSIG": "the key {} was revoked",
    "ERRSIG": "signed by key {}, which is not accepted",
}


class GpgError(errors.StoreError):
    """GnuPG failed, or is not installed."""


class BadSignature(errors.InvalidContent):
    """A signature is not accepted."""


class WrongSignature(BadSignature):
    """A signature was made for other content."""


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
    :raises BadSignature: if the signature is not accepted.
    :raises GpgError: when gpgv cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="image-prepare-") as directory:
        signed, content = (
            Path(directory, "message"),
            Path(directory, "content"),
        )
        signed.write_bytes(message)
        _, fields = run(
            Path(directory),
            keyrings,
            *("--output", str(content), "--", str(signed)),
        )
        try:
            return Signed(content.read_bytes(), fields[-1])
        except FileNotFoundError:
            raise BadSignature("a signature without a message") from None


def run(
    directory: Path, keyrings: Sequence[bytes], *words: str
) -> tuple[list[list[str]], list[str]]:
    """Run gpgv; its status lines, and the fields of VALIDSIG.

    :param directory: for its files.
    :raises BadSignature: if the signature is not accepted.
    :raises GpgError: when gpgv cannot be run.
    """
    ring, status = directory / "keys.gpg", directory / "status"
    ring.write_bytes(b"".join(map(binary, keyrings)))
    options = (
        *("--homedir", str(directory), "--status-fd", "1"),
        *("--keyring", str(ring)),
    )
    good = True
    try:
        confined.run(
            ["gpgv", *options, *words],
            _LIMITS,
            package="gpgv",
            destination=status,
        )
    except confined.ProgramFailed:
        # The reason is in the status lines.
        good = False
    except confined.Exceeded as error:
        raise BadSignature(str(error)) from error
    except errors.InvalidArgument as error:
        raise GpgError(str(error), hint=error.hint) from error
    except OSError as error:
        raise GpgError(f"gpgv: {errors.reason(error)}") from error
    lines = status_lines(status.read_text(errors="replace"))
    return lines, valid_signature(lines, good=good)


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


def status_lines(told: str) -> list[list[str]]:
    """The words of each status line."""
    lines = (
        line.removeprefix(_STATUS).split()
        for line in told.splitlines()
        if line.startswith(_STATUS)
    )
    return [line for line in lines if line]


def valid_signature(lines: list[list[str]], *, good: bool) -> list[str]:
    """The fields of VALIDSIG, of the one key that made the one signature.

    The first is the fingerprint of the key, the last that of its primary key.

    :raises BadSignature: if it is not accepted.
    """
    for word, *rest in lines:
        if word == "BADSIG":
            raise WrongSignature("the signature is wrong")
        if reason := _BAD.get(word):
            raise BadSignature(reason.format(rest[0] if rest else "?"))
    by_word = {
        kind: [rest for word, *rest in lines if word == kind]
        for kind in ("NEWSIG", "GOODSIG", "VALIDSIG")
    }
    if any(len(fields) != 1 for fields in by_word.values()) or not good:
        raise BadSignature("not a message with exactly one signature")
    return by_word["VALIDSIG"][0]
