"""The expected checksums of archives and their origin."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import files, inputs
from imageprep_client.machine.archives import sums
from imageprep_client.machine.archives.sums import ChecksumList
from imageprep_client.programs import gpg

_SHA256 = re.compile(r"(sha256:)?(?P<hex>[0-9a-f]{64})")
_FINGERPRINT = re.compile(r"(0x)?([0-9A-F]{40}|[0-9A-F]{64})", re.IGNORECASE)
_MAX_SIGNATURE = 65536
_SIGNATURES = (sums.SIGNATURE, "SHA256SUMS.asc")
#: Seconds until a list and its signature, published meanwhile, fit.
_PAUSE = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """The means by which a source is verified.

    :ivar checksum: of an archive, in hexadecimal; empty: see the others.
    :ivar keyring: a file of public keys.
    :ivar signers: fingerprints of those that may sign.
    :ivar none: whether an archive is used without.
    :ivar allow_older: use a signed list although it is out of date.
    """

    checksum: str = ""
    keyring: str = ""
    signers: tuple[str, ...] = ()
    none: bool = False
    allow_older: bool = False

    def check(self) -> Verification:
        """The same, in one form.

        :raises InvalidArgument: when it contradicts itself.
        """
        match = _SHA256.fullmatch(self.checksum.lower())
        if self.checksum and match is None:
            raise errors.InvalidArgument(
                f"--checksum {self.checksum[:80]!r}: no SHA-256",
                hint="it has 64 hexadecimal digits",
            )
        signers = tuple(s.replace(" ", "") for s in self.signers)
        for signer in signers:
            if not _FINGERPRINT.fullmatch(signer):
                raise errors.InvalidArgument(
                    f"--signer {signer[:80]!r}: no fingerprint",
                    hint="it has 40 or 64 hexadecimal digits; look at: gpg"
                    " --show-keys",
                )
        if bool(self.keyring) != bool(signers):
            raise errors.InvalidArgument(
                "--keyring and --signer must be given together: a file of keys"
                " and the keys of it that may sign"
            )
        if sum(map(bool, (self.checksum, self.keyring, self.none))) > 1:
            raise errors.InvalidArgument(
                "--checksum, --keyring and --no-verify are mutually exclusive"
            )
        checksum = match["hex"] if match else ""
        return dataclasses.replace(self, checksum=checksum, signers=signers)


#: Reads the file of a name beside an archive, of at most so many bytes; it
#: raises `errors.NotFound` when there is none.
ReadsSmall = Callable[[str, int], bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectedChecksum:
    """The expected checksum of an archive; empty if it is unknown.

    :ivar origin: where it is from, for messages.
    """

    hex: str
    origin: str


class SignedLists:
    """Signed checksum lists, none older than one that was seen before.

    :param state: the directory of what was seen.
    """

    def __init__(self, state: Path) -> None:
        self._state = state

    def expected(
        self,
        verification: Verification,
        place: str,
        name: str,
        read: ReadsSmall,
    ) -> ExpectedChecksum:
        """The expected checksum of an archive.

        :param place: the directory or URL that the archive is in.
        :param name: its name there.
        :param read: reads the files beside it.
        :raises InvalidArgument: when there is nothing to verify it with.
        :raises StoreError: when the list is not accepted.
        """
        if verification.none:
            return ExpectedChecksum("", "nothing")
        if verification.checksum:
            return ExpectedChecksum(verification.checksum, "checksum")
        if not verification.keyring:
            raise errors.InvalidArgument(
                f"{place}/{name}: there is nothing to verify it with",
                hint="give --checksum, or --keyring and --signer for a signed"
                " SHA256SUMS beside it, or --no-verify",
            )
        where = f"{place}/{sums.NAME}"
        content, signature = self._signed(verification, where, read)
        listed = ChecksumList.parse(content, where)
        self._check_age(verification, place, listed, signature, content)
        if name not in listed.sums:
            raise errors.InvalidContent(f"{where}: does not list {name}")
        origin = f"signature of {signature.fingerprint}"
        return ExpectedChecksum(listed.sums[name], origin)

    def _signed(
        self, verification: Verification, where: str, read: ReadsSmall
    ) -> tuple[bytes, gpg.DetachedSignature]:
        keyring = inputs.load(verification.keyring)
        for attempt in range(2):
            content = read(sums.NAME, sums.MAX_SIZE)
            signature = _signature(where, read)
            try:
                return content, gpg.verify_detached(
                    signature, content, [keyring], verification.signers
                )
            except gpg.BadSignature as error:
                if attempt or not isinstance(error, gpg.WrongSignature):
                    raise gpg.BadSignature(f"{where}: {error}") from None
                # The two may have been replaced between the two reads.
                time.sleep(_PAUSE)
        raise gpg.BadSignature(f"{where}: has no signature that fits")

    def _check_age(
        self,
        verification: Verification,
        place: str,
        listed: ChecksumList,
        signature: gpg.DetachedSignature,
        content: bytes,
    ) -> None:
        """Check that a list is not out of date, and record its time.

        :raises InvalidContent: when it is out of date and not allowed to be.
        """
        key = hashlib.sha256(f"{place}\n{signature.fingerprint}".encode())
        path = self._state / f"{key.hexdigest()}.json"
        seen = 0
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            seen = int(json.loads(inputs.read(path, 4096))["signed"])
        problem = ""
        if signature.made < seen:
            problem = (
                f"was signed {_day(signature.made)}, before a list that was"
                f" accepted earlier, signed {_day(seen)}"
            )
        elif listed.best_before and datetime.date.today() > listed.best_before:
            problem = f"expired after {listed.best_before}"
        if problem and not verification.allow_older:
            raise errors.InvalidContent(
                f"{place}/{sums.NAME}: {problem}",
                hint="to accept an older list, give --allow-older",
            )
        if signature.made > seen:
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            note = {
                "place": place,
                "signed": signature.made,
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            files.write(str(path), json.dumps(note) + "\n", mode=0o600)


def _signature(where: str, read: ReadsSmall) -> bytes:
    for name in _SIGNATURES:
        try:
            return read(name, _MAX_SIGNATURE)
        except errors.NotFound:
            continue
    raise errors.NotFound(
        f"{where}: has no signature beside it, {' or '.join(_SIGNATURES)}"
    )


def _day(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(sep=" ", timespec="seconds")
