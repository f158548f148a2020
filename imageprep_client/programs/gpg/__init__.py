"""The program `gpgv` of GnuPG: signed messages, verified with a keyring."""

from imageprep_client.programs.gpg.verifying import (
    BadSignature,
    GpgError,
    Signed,
    verify,
)

__all__ = ["BadSignature", "GpgError", "Signed", "verify"]
