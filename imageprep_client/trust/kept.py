"""Signatures of images that were accepted before, kept on this host.

They are verified each time as if they came from the registry, so that
keeping them trusts nothing; it only saves the requests.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.host import files, inputs
from imageprep_client.trust import signatures
from imageprep_client.trust.signatures import Signature

_MAX_SIZE = 16 << 20


class KeptSignatures:
    """A directory of signatures.

    :param directory: empty: nothing is kept.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def get(self, repository: str, digest: str) -> Sequence[Signature]:
        """Those of a manifest; none where there are none that can be used."""
        if not self._directory:
            return []
        try:
            content = inputs.read(self._path(repository, digest), _MAX_SIZE)
            return signatures.load(content)
        except (OSError, errors.InvalidContent):
            return []

    def put(
        self, repository: str, digest: str, found: Sequence[Signature]
    ) -> None:
        """Keep them, where this user may."""
        if not self._directory:
            return
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            files.write(
                self._path(repository, digest),
                signatures.dump(found).decode(),
                mode=0o600,
            )
        except (OSError, errors.InvalidFile):
            # They are read from the registry again.
            self._directory = ""

    def _path(self, repository: str, digest: str) -> str:
        name = hashlib.sha256(f"{repository}@{digest}".encode()).hexdigest()
        return os.path.join(self._directory, f"{name}.json")
