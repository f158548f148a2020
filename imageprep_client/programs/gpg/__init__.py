"""GnuPG: signatures, verified with a keyring by gpgv and made by gpg."""

from imageprep_client.programs.gpg.detached import (
    DetachedSignature,
    verify_detached,
)
from imageprep_client.programs.gpg.signing import sign_detached
from imageprep_client.programs.gpg.verifying import (
    BadSignature,
    WrongSignature,
    verify,
)

__all__ = [
    "BadSignature",
    "DetachedSignature",
    "WrongSignature",
    "sign_detached",
    "verify",
    "verify_detached",
]
