"""Detached signatures, made by gpg with the keys of the user."""

from __future__ import annotations

import tempfile
from pathlib import Path

from imageprep_client.programs.gpg.verifying import GpgError
from imageprep_client.programs.process import Program

_GPG = Program(
    "gpg",
    {"LC_ALL": "C.UTF-8"},
    package="gnupg",
    error=GpgError,
    hints=(
        ("No secret key", "look at: gpg --list-secret-keys"),
        ("No such file", "is gpg-agent installed?"),
    ),
)


def sign_detached(content: bytes, key: str) -> bytes:
    """A binary signature of some content.

    The user's agent may ask for a passphrase.

    :param key: a fingerprint or a user ID.
    :raises GpgError: when it cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="image-prepare-") as directory:
        signed, signature = Path(directory, "content"), Path(directory, "sig")
        signed.write_bytes(content)
        _GPG.run(
            *("--batch", "--yes", "--digest-algo", "SHA512"),
            *("--local-user", key, "--output", str(signature)),
            *("--detach-sign", "--", str(signed)),
        )
        return signature.read_bytes()
