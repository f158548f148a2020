"""Archives at web sites, signed by gpg, and sites that are up to no good."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import web
from tests.machines import ROOT, archive, member

CONTENT = archive(ROOT, member("etc/x", content=bytes(range(250)) * 4000))
SUM = hashlib.sha256(CONTENT).hexdigest()
LINE = f"{SUM}  a.tar\n"
CASES = (
    "unlisted",
    "expired",
    "revoked",
    "unknown",
    "sha1",
    "clearsigned",
    "changed list",
    "changed archive",
    "no signature",
    "no list",
    "longer",
    "shorter",
    "past its date",
    "not found",
    "wrong range",
    "redirect into the host",
    "checksum",
    "too large",
    "endless redirects",
)


@dataclasses.dataclass(frozen=True)
class Keys:
    """A home of gpg with keys of several kinds, and their public keys."""

    home: Path
    ring: Path
    fingerprints: dict[str, str]

    def gpg(self, *words: str, stdin: bytes | None = None) -> bytes:
        """The output of gpg."""
        return subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--quiet", *words],
            input=stdin,
            check=True,
            capture_output=True,
        ).stdout

    def words(self, signer: str = "good", ring: Path | None = None) -> Words:
        """The options that accept the signatures of a key."""
        keyring = str(ring or self.ring)
        return (
            *("--keyring", keyring),
            *("--signer", self.fingerprints[signer]),
        )

    def listed(
        self,
        directory: Path,
        *words: str,
        signer: str = "good",
        text: str = LINE,
    ) -> None:
        """Write SHA256SUMS and its signature, made by gpg alone."""
        path = directory / "SHA256SUMS"
        path.write_text(text)
        (directory / "SHA256SUMS.gpg").unlink(missing_ok=True)
        self.gpg(
            *words,
            *("--local-user", f"{signer}@x.invalid", "--detach-sign"),
            *("--output", str(directory / "SHA256SUMS.gpg"), str(path)),
        )


Words = tuple[str, ...]


@contextlib.contextmanager
def made_keys(top: Path) -> Iterator[Keys]:
    """Keys: good, other (not in the ring), revoked and expired."""
    home = top / "home"
    home.mkdir(mode=0o700)
    keys = Keys(home, top / "ring.gpg", {})
    past = ("--faked-system-time", "20200101T000000!")
    for name, when, expire in (
        ("good", (), "never"),
        ("other", (), "never"),
        ("revoked", (), "never"),
        ("expired", past, "2020-06-01"),
    ):
        keys.gpg(
            *when,
            *("--passphrase", "", "--quick-generate-key", f"{name}@x.invalid"),
            *("ed25519", "sign", expire),
        )
        told = keys.gpg("--with-colons", "--list-keys", f"{name}@x.invalid")
        (found,) = re.findall(r"(?m)^fp\w:+([0-9A-F]{40}):", told.decode())
        keys.fingerprints[name] = found
    names = [f"{name}@x.invalid" for name in ("good", "expired")]
    keys.ring.write_bytes(keys.gpg("--export", *names, "revoked@x.invalid"))
    try:
        yield keys
    finally:
        subprocess.run(
            ["gpgconf", "--homedir", home, "--kill", "all"], check=True
        )


def _revoked_ring(keys: Keys) -> bytes:
    """The ring with the revocation of one of its keys."""
    fingerprint = keys.fingerprints["revoked"]
    text = (
        (keys.home / f"openpgp-revocs.d/{fingerprint}.rev")
        .read_text()
        .replace(":-----BEGIN", "-----BEGIN")
    )
    keys.gpg("--import", stdin=text.encode())
    return keys.gpg("--export")


def prepare(
    case: str, site: web.WebSite, keys: Keys, scratch: Path, state: Path
) -> tuple[Words, str]:
    """Make a site hostile.

    :param site: its directory has the archive.
    :param scratch: for files of the user.
    :param state: of the commands, where an earlier one left a part.
    :returns: the options that verify its archive, and what is told.
    """
    www = site.directory
    words = keys.words()
    keys.listed(www)
    sums, told = www / "SHA256SUMS", ""
    match case:
        case "unlisted":
            keys.listed(www, signer="other")
            ring = scratch / "both.gpg"
            ring.write_bytes(keys.gpg("--export"))
            words = keys.words(ring=ring)
            told = "is not listed"
        case "expired":
            keys.listed(
                www,
                *("--faked-system-time", "20200301T000000!"),
                signer="expired",
            )
            words = keys.words("expired")
            told = "has expired"
        case "revoked":
            keys.listed(www, signer="revoked")
            ring = scratch / "revoked.gpg"
            ring.write_bytes(_revoked_ring(keys))
            words = keys.words("revoked", ring)
            told = "was revoked"
        case "unknown":
            keys.listed(www, signer="other")
            told = "is not accepted"
        case "sha1":
            keys.listed(www, "--digest-algo", "SHA1")
            told = "SHA-1|not accepted|exactly one"
        case "clearsigned":
            (www / "SHA256SUMS.gpg").write_bytes(
                keys.gpg(
                    *("--local-user", "good@x.invalid", "--clear-sign"),
                    *("--output", "-", str(sums)),
                )
            )
            told = "signed inline"
        case "changed list":
            sums.write_text(f"{'0' * 64}  a.tar\n")
            told = "the signature is wrong"
        case "changed archive":
            (www / "a.tar").write_bytes(CONTENT[:-1] + b"x")
            told = "the SHA-256 is"
        case "no signature":
            (www / "SHA256SUMS.gpg").unlink()
            told = "has no signature"
        case "no list":
            sums.unlink()
            told = "answered 404"
        case "longer":
            (www / "a.tar").write_bytes(CONTENT + b"x")
            told = "the SHA-256 is"
        case "shorter":
            (www / "a.tar").write_bytes(CONTENT[:-1])
            told = "the SHA-256 is"
        case "past its date":
            empty = hashlib.sha256().hexdigest()
            old = f"{LINE}{empty}  BEST-BEFORE-2020-01-31\n"
            keys.listed(www, text=old)
            told = "expired after 2020-01-31"
        case "not found":
            (www / "a.tar").unlink()
            told = "answered 404"
        case "wrong range":
            partial = state / f"quarantine/sha256-{SUM}.part"
            partial.parent.mkdir(parents=True, mode=0o700)
            partial.write_bytes(CONTENT[:1000])
            site.shift = 10
            told = "asked for bytes from 1000 on"
        case "redirect into the host":
            site.redirect = "http://169.254.169.254/a.tar"
            told = "refused"
        case "checksum":
            words = ("--checksum", "0" * 64)
            told = "the SHA-256 is"
        case "too large":
            words = ("--no-verify",)
            site.claimed = 2 << 30
            told = "has more than"
        case "endless redirects":
            site.redirect = f"{site.url}/a.tar"
            told = "too many redirects"
    return words, told
