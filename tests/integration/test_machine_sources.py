"""Sources of machines: signatures, checksums, and fetches that resume."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client import machine_images, machine_sources
from imageprep_client.client.machine_sources import Verification
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.observer import Observer
from tests import machines, web
from tests.functional import base
from tests.machines import ROOT, archive, member

CONTENT = archive(ROOT, member("etc/x", content=bytes(range(250)) * 4000))
SUM = hashlib.sha256(CONTENT).hexdigest()
LINE = f"{SUM}  a.tar\n"
NONE = Verification(none=True)


@dataclasses.dataclass(frozen=True)
class Keys:
    """A home of gpg with keys of several kinds, and their public keys."""

    home: Path
    ring: Path
    fingerprints: dict[str, str]

    def gpg(self, *words: str, stdin: bytes | None = None) -> bytes:
        return subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--quiet", *words],
            input=stdin,
            check=True,
            capture_output=True,
        ).stdout

    def verification(
        self, signer: str = "good", allow_older: bool = False
    ) -> Verification:
        return Verification(
            keyring=str(self.ring),
            signers=(self.fingerprints[signer],),
            allow_older=allow_older,
        )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """Keys: good, other (not in the ring), revoked and expired."""
    top = tmp_path_factory.mktemp("keys")
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
    yield keys
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


def revoked_ring(keys: Keys) -> bytes:
    """The ring with the revocation of one of its keys."""
    fingerprint = keys.fingerprints["revoked"]
    text = (
        (keys.home / f"openpgp-revocs.d/{fingerprint}.rev")
        .read_text()
        .replace(":-----BEGIN", "-----BEGIN")
    )
    keys.gpg("--import", stdin=text.encode())
    return keys.gpg("--export")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own for what the commands keep."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/image-prepare/machine"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[web.WebSite]:
    """A web server with an archive."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/a.tar").write_bytes(CONTENT)
    with web.served(tmp_path / "www") as site:
        yield site


def listed(
    keys: Keys,
    directory: Path,
    *words: str,
    signer: str = "good",
    text: str = LINE,
) -> None:
    """Write SHA256SUMS and its signature, made by gpg alone."""
    path = directory / "SHA256SUMS"
    path.write_text(text)
    (directory / "SHA256SUMS.gpg").unlink(missing_ok=True)
    keys.gpg(
        *words,
        *("--local-user", f"{signer}@x.invalid", "--detach-sign"),
        *("--output", str(directory / "SHA256SUMS.gpg"), str(path)),
    )


def read(source: str, verification: Verification) -> bytes:
    """The content of a source."""
    with (
        machine_sources.open_source(
            source,
            verification,
            RegistryOptions(),
            Observer(),
            max_size=1 << 24,
        ) as opened,
        opened.open() as content,
    ):
        return content.read()


def test_signed_list(site: web.WebSite, keys: Keys) -> None:
    """A list that gpg alone has signed says what an archive is."""
    listed(keys, site.directory)
    assert read(f"{site.url}/a.tar", keys.verification()) == CONTENT
    assert read(str(site.directory / "a.tar"), keys.verification()) == CONTENT


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        (f"{SUM} *a.tar\n", True),
        (f"{SUM} a.tar\n", True),
        (f"{SUM}  b.tar\n", False),
        (f"{SUM[:-1]}  a.tar\n", False),
        (f"{LINE}{SUM[::-1]}  a.tar\n", False),
        (f"{SUM}  x/a.tar\n", False),
    ],
)
def test_lines_of_a_list(
    site: web.WebSite, keys: Keys, text: str, is_read: bool
) -> None:
    """All forms of sha256sum are read; a name has one sum."""
    listed(keys, site.directory, text=text)
    url = f"{site.url}/a.tar"
    if is_read:
        assert read(url, keys.verification()) == CONTENT
        return
    with pytest.raises(errors.InvalidContent, match="SHA256SUMS"):
        read(url, keys.verification())


@pytest.mark.parametrize(
    "case",
    [
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
    ],
)
def test_hostile_source(
    tmp_path: Path,
    site: web.WebSite,
    keys: Keys,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    """One line, nothing unpacked, nothing of it in the pool."""
    monkeypatch.setattr(
        "imageprep_client.machine.sources.verification._PAUSE", 0.0
    )
    www, verification = site.directory, keys.verification()
    listed(keys, www)
    sums, told = www / "SHA256SUMS", ""
    match case:
        case "unlisted":
            listed(keys, www, signer="other")
            ring = tmp_path / "both.gpg"
            ring.write_bytes(keys.gpg("--export"))
            verification = dataclasses.replace(verification, keyring=str(ring))
            told = "is not listed"
        case "expired":
            listed(
                keys,
                www,
                *("--faked-system-time", "20200301T000000!"),
                signer="expired",
            )
            verification = keys.verification("expired")
            told = "has expired"
        case "revoked":
            listed(keys, www, signer="revoked")
            ring = tmp_path / "revoked.gpg"
            ring.write_bytes(revoked_ring(keys))
            verification = dataclasses.replace(
                keys.verification("revoked"), keyring=str(ring)
            )
            told = "was revoked"
        case "unknown":
            listed(keys, www, signer="other")
            told = "is not accepted"
        case "sha1":
            listed(keys, www, "--digest-algo", "SHA1")
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
            told = "has the SHA-256"
        case "no signature":
            (www / "SHA256SUMS.gpg").unlink()
            told = "has no signature"
        case "no list":
            sums.unlink()
            told = "answered 404"
        case "longer":
            (www / "a.tar").write_bytes(CONTENT + b"x")
            told = "has the SHA-256"
        case "shorter":
            (www / "a.tar").write_bytes(CONTENT[:-1])
            told = "has the SHA-256"
        case "past its date":
            empty = hashlib.sha256().hexdigest()
            old = f"{LINE}{empty}  BEST-BEFORE-2020-01-31\n"
            listed(keys, www, text=old)
            told = "was to be used until 2020-01-31"
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
            verification = Verification(checksum="0" * 64)
            told = "has the SHA-256"
        case "too large":
            verification = NONE
            with (www / "a.tar").open("ab") as file:
                file.truncate(1 << 25)
            told = "has more than"
        case "endless redirects":
            site.redirect = f"{site.url}/a.tar"
            told = "redirects again and again"
    pool = tmp_path / "pool"
    pool.mkdir()
    with pytest.raises(errors.StoreError, match=told) as caught:
        machine_images.import_machine(
            "m1",
            f"{site.url}/a.tar",
            verification,
            RegistryOptions(),
            Observer(),
            store=str(pool),
            max_size=1 << 24,
            declared=frozenset(),
            read_only=False,
        )
    assert "\n" not in str(caught.value)
    assert os.listdir(pool) == []


def test_older_list(site: web.WebSite, keys: Keys) -> None:
    """After a newer one was seen, an older list needs --allow-older."""
    url = f"{site.url}/a.tar"
    listed(keys, site.directory)
    read(url, keys.verification())
    # The key must have been made before.
    old = (site.directory / "SHA256SUMS.gpg").read_bytes()
    future = ("--faked-system-time", "20400101T000000!")
    try:
        listed(keys, site.directory, *future)
        read(url, keys.verification())
    except errors.InvalidContent:
        pytest.fail("a signature of tomorrow is good today")
    (site.directory / "SHA256SUMS.gpg").write_bytes(old)
    with pytest.raises(errors.InvalidContent, match="has been seen"):
        read(url, keys.verification())
    assert read(url, keys.verification(allow_older=True)) == CONTENT


@pytest.mark.parametrize("etags", [True, False])
def test_broken_connection_is_resumed(site: web.WebSite, etags: bool) -> None:
    """What came is not sent again, where the digest or the ETag is known."""
    site.cut, site.etags = 600_000, etags
    verification = Verification(checksum=SUM)
    assert read(f"{site.url}/a.tar", verification) == CONTENT
    assert site.sent == len(CONTENT)


def test_server_without_ranges(site: web.WebSite) -> None:
    """It sends all again, and that is what is taken."""
    site.cut, site.ranges = 600_000, False
    assert read(f"{site.url}/a.tar", Verification(checksum=SUM)) == CONTENT


def test_unknown_version_is_not_continued(site: web.WebSite) -> None:
    """Without digest and ETag nothing says that it is still the same."""
    site.cut, site.etags = 600_000, False
    assert read(f"{site.url}/a.tar", NONE) == CONTENT
    assert [asked for _, asked in site.asked] == ["", ""]


def test_file_that_changed_meanwhile(site: web.WebSite) -> None:
    """If-Range lets the server send the new one as a whole."""
    site.cut = 600_000
    url = f"{site.url}/a.tar"
    new = archive(ROOT, member("etc/y", content=os.urandom(700_000)))

    class Changing(Observer):
        def retrying(self, *_: object) -> None:
            (site.directory / "a.tar").write_bytes(new)

    with (
        machine_sources.open_source(
            url, NONE, RegistryOptions(), Changing()
        ) as opened,
        opened.open() as content,
    ):
        assert content.read() == new


def test_wrong_beginning_is_fetched_again(
    site: web.WebSite, state: Path
) -> None:
    """What an earlier run left may be of something else."""
    partial = state / f"quarantine/sha256-{SUM}.part"
    partial.parent.mkdir(parents=True, mode=0o700)
    partial.write_bytes(b"x" * 1000)
    assert read(f"{site.url}/a.tar", Verification(checksum=SUM)) == CONTENT


def test_killed_fetch_goes_on(
    site: web.WebSite, state: Path, tmp_path: Path
) -> None:
    """After a kill at half, the next run fetches the other half."""
    site.cut = len(CONTENT) // 2 + 1000
    code = (
        "import os, signal, sys\n"
        "from imageprep_client.client import machine_sources as s\n"
        "from imageprep_client.client.registry_options"
        " import RegistryOptions\n"
        "from imageprep_client.observer import Observer\n"
        "class Killing(Observer):\n"
        "    def retrying(self, *_):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "v = s.Verification(checksum=sys.argv[2])\n"
        "with s.open_source(sys.argv[1], v, RegistryOptions(), Killing()):\n"
        "    pass\n"
    )
    url = f"{site.url}/a.tar"
    killed = subprocess.run([sys.executable, "-c", code, url, SUM])
    assert killed.returncode == -signal.SIGKILL
    site.sent = 0
    assert read(url, Verification(checksum=SUM)) == CONTENT
    assert site.sent < 0.55 * len(CONTENT)
    assert not list((state / "quarantine").glob("*.part"))


@pytest.mark.parametrize(
    "verification",
    [
        Verification(),
        Verification(checksum="0" * 63),
        Verification(checksum=SUM, none=True),
        Verification(keyring="x"),
        Verification(keyring="x", signers=("ABC",)),
    ],
)
def test_verification_that_says_nothing(
    site: web.WebSite, verification: Verification
) -> None:
    """It is refused before a byte is fetched."""
    with pytest.raises(errors.InvalidArgument):
        read(f"{site.url}/a.tar", verification)
    assert not site.asked


def test_published_for_machinectl(
    tmp_path: Path, openstack: base.OpenStack, keys: Keys
) -> None:
    """systemd-pull verifies what is published, and so does an import."""
    machines.make_root(tmp_path / "m")
    machines.run(
        "tar", "-C", tmp_path / "m", "-czf", tmp_path / "a.tar.gz", "."
    )
    www = tmp_path / "www"
    www.mkdir()
    openstack.environment["GNUPGHOME"] = str(keys.home)
    openstack(
        *("image-prepare", "machine", "publish", f"{tmp_path}/a.tar.gz"),
        *("--directory", str(www), "--sign", "good@x.invalid"),
        *("--best-before", "2999-12-31"),
    )
    script = (
        "mount -t tmpfs tmpfs /etc/systemd;"
        " cp $1 /etc/systemd/import-pubring.gpg;"
        " /lib/systemd/systemd-pull tar --verify=signature --sync=no"
        " --image-root=$2 $3 m1;"
        # Its pristine copy is immutable: nothing could remove it.
        " chattr -i $2/.tar-*"
    )
    with web.served(www) as site:
        url = f"{site.url}/a.tar.gz"
        machines.run(
            *("unshare", "-m", "sh", "-ec", script, "sh"),
            *(keys.ring, tmp_path / "pool", url),
        )
        assert read(url, keys.verification())
    assert (tmp_path / "pool/m1/bin/busybox").exists()


@pytest.fixture
def openstack(tmp_path: Path) -> base.OpenStack:
    """The ``openstack`` command."""
    (tmp_path / "home").mkdir()
    return base.OpenStack(tmp_path / "home")


def test_publish_keeps_other_files(tmp_path: Path, keys: Keys) -> None:
    """A second call adds to the list, and replaces both files at once."""
    www = tmp_path / "www"
    www.mkdir()
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(name.encode())
        machine_images.publish(
            [tmp_path / name], www, key="", best_before=None
        )
    assert sorted(
        line.split()[1]
        for line in (www / "SHA256SUMS").read_text().split("\n")
        if line
    ) == ["a.tar", "b.tar"]
    assert not (www / "SHA256SUMS.gpg").exists()
    assert (www / "a.tar").stat().st_mode & 0o777 == 0o644
    hidden = [n for n in os.listdir(www) if n.startswith(".published-")]
    assert len(hidden) == 1


def test_publish_without_the_key(tmp_path: Path) -> None:
    """Nothing is published when the list cannot be signed."""
    (tmp_path / "www").mkdir()
    (tmp_path / "a.tar").touch()
    with pytest.raises(errors.StoreError, match="gpg"):
        machine_images.publish(
            [tmp_path / "a.tar"],
            tmp_path / "www",
            key="nobody@x.invalid",
            best_before=None,
        )
    assert os.listdir(tmp_path / "www") == []
