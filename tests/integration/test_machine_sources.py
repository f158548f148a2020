"""Sources of machines: signatures, checksums, and fetches that resume."""

from __future__ import annotations

import datetime
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.client.machine import images, sources
from imageprep_client.client.machine.sources import MachineSource, Verification
from imageprep_client.observer import Observer
from imageprep_client.testing import content, streams
from imageprep_client.testing.registry import RegistryServer
from tests import hostile_sources, machines, programs, web
from tests.functional import base
from tests.hostile_sources import CONTENT, LINE, SUM, Keys
from tests.machines import ROOT, archive, member

NONE = Verification(none=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """Keys: good, other (not in the ring), revoked and expired."""
    with hostile_sources.made_keys(tmp_path_factory.mktemp("keys")) as keys:
        yield keys


def accepting(keys: Keys) -> Verification:
    """A verification by the good key."""
    return Verification(
        keyring=str(keys.ring), signers=(keys.fingerprints["good"],)
    )


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own for what the commands keep."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/image-prepare/machine"


@pytest.fixture
def openstack(tmp_path: Path, state: Path) -> base.OpenStack:
    """The ``openstack`` command, with that state."""
    home = tmp_path / "home"
    return base.OpenStack(home, XDG_STATE_HOME=str(state.parents[1]))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[web.WebSite]:
    """A web server with an archive."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/a.tar").write_bytes(CONTENT)
    with web.served(tmp_path / "www") as site:
        yield site


def read(source: str, verification: Verification) -> bytes:
    """The content of a source."""
    with (
        sources.open_source(
            MachineSource(source, verification, max_size=1 << 24), Observer()
        ) as opened,
        opened.open() as content,
    ):
        return content.read()


def test_unknown_tag() -> None:
    """The error about a tag of an image names the nearest ones."""
    image = content.image("machine")
    with RegistryServer() as server:
        store = server.content.store("machines/utility")
        streams.put(store, image)
        store.tag(image.descriptor, "2026.1")
        with pytest.raises(errors.NotFound) as caught:
            read(f"{server.host}/machines/utility:2026.2", Verification())
    assert caught.value.hint == "the nearest tags there are: 2026.1"


def test_signed_list(site: web.WebSite, keys: Keys) -> None:
    """A list that gpg alone has signed says what an archive is."""
    keys.listed(site.directory)
    assert read(f"{site.url}/a.tar", accepting(keys)) == CONTENT
    assert read(str(site.directory / "a.tar"), accepting(keys)) == CONTENT


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
    keys.listed(site.directory, text=text)
    url = f"{site.url}/a.tar"
    if is_read:
        assert read(url, accepting(keys)) == CONTENT
        return
    with pytest.raises(errors.InvalidContent, match="SHA256SUMS"):
        read(url, accepting(keys))


@pytest.mark.parametrize("case", hostile_sources.CASES)
def test_hostile_source(
    tmp_path: Path,
    site: web.WebSite,
    keys: Keys,
    state: Path,
    openstack: base.OpenStack,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    """One line, status 2, nothing unpacked, nothing of it in the pool."""
    monkeypatch.setattr(
        "imageprep_client.machine.sources.verification._PAUSE", 0.0
    )
    words, told = hostile_sources.prepare(case, site, keys, tmp_path, state)
    pool = tmp_path / "pool"
    pool.mkdir()
    result = openstack(
        *("image-prepare", "machine", "import", "m1", "--store", str(pool)),
        *("--from", f"{site.url}/a.tar", "--max-size", "1", *words),
        status=2,
        stderr=r"[^\n]*(\nhint: [^\n]*)?",
    )
    assert re.search(told, result.stderr)
    assert os.listdir(pool) == []


def test_older_list(
    tmp_path: Path, site: web.WebSite, keys: Keys, openstack: base.OpenStack
) -> None:
    """After a newer list was seen, an older one needs --allow-older."""
    url = f"{site.url}/a.tar"
    keys.listed(site.directory)
    # The key must have been made before.
    old = (site.directory / "SHA256SUMS.gpg").read_bytes()
    keys.listed(site.directory, "--faked-system-time", "20400101T000000!")
    pool = tmp_path / "pool"
    pool.mkdir()

    def load(name: str, *words: str, **expected: Any) -> None:
        openstack(
            *("image-prepare", "machine", "import", name, "--from", url),
            *("--store", str(pool), *keys.words(), *words),
            **expected,
        )

    load("m1")
    (site.directory / "SHA256SUMS.gpg").write_bytes(old)
    load(
        "m2",
        status=2,
        stderr=r"\S+/SHA256SUMS: was signed [^\n]* accepted earlier[^\n]*\n"
        r"hint: [^\n]* give --allow-older",
    )
    load("m3", "--allow-older")
    assert sorted(os.listdir(pool)) == ["m1", "m3"]


@pytest.mark.parametrize("etags", [True, False])
def test_broken_connection_is_resumed(site: web.WebSite, etags: bool) -> None:
    """Received bytes are not sent again, given a digest or an ETag."""
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
        sources.open_source(MachineSource(url, NONE), Changing()) as opened,
        opened.open() as content,
    ):
        assert content.read() == new


def test_wrong_beginning_is_fetched_again(
    site: web.WebSite, state: Path
) -> None:
    """The rest of an earlier run may be of another source."""
    partial = state / f"quarantine/sha256-{SUM}.part"
    partial.parent.mkdir(parents=True, mode=0o700)
    partial.write_bytes(b"x" * 1000)
    assert read(f"{site.url}/a.tar", Verification(checksum=SUM)) == CONTENT


@pytest.mark.parametrize("etags", [True, False])
def test_killed_fetch_goes_on(
    tmp_path: Path,
    site: web.WebSite,
    state: Path,
    openstack: base.OpenStack,
    etags: bool,
) -> None:
    """After a kill at half, the same command fetches the other half."""
    half = len(CONTENT) // 2 + 1000
    site.etags, site.cut, site.cutting = etags, half, threading.Event()
    (tmp_path / "pool").mkdir()
    words = (
        *("image-prepare", "machine", "import", "m1", "--checksum", SUM),
        *("--from", f"{site.url}/a.tar", "--store", str(tmp_path / "pool")),
    )
    partial = state / f"quarantine/sha256-{SUM}.part"
    process = openstack.start(*words)
    while not partial.exists() or partial.stat().st_size < half:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    site.cutting.set()
    site.sent = 0
    openstack(*words)
    assert site.sent < 0.55 * len(CONTENT)
    assert not partial.exists()
    assert os.listdir(tmp_path / "pool") == ["m1"]


def test_server_that_is_away(
    tmp_path: Path, openstack: base.OpenStack
) -> None:
    """A refused connection is told at once, with the URL."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x/a.tar"
        openstack(
            *("image-prepare", "machine", "import", "m1", "--no-verify"),
            *("--from", f"{url}?secret=1", "--store", str(tmp_path)),
            status=2,
            stderr=f"{url}: connection refused",
        )


def test_password_in_a_url(tmp_path: Path, openstack: base.OpenStack) -> None:
    """It is not used, and so it is refused, and not shown."""
    openstack(
        *("image-prepare", "machine", "import", "m1", "--no-verify"),
        *("--from", "http://me:secret@127.0.0.1:1/a.tar"),
        *("--store", str(tmp_path)),
        status=2,
        stderr=r"http://127.0.0.1:1/a.tar: a user in a URL is not supported\n"
        r"hint: [^\n]*",
    )


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
    programs.run(
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
        programs.run(
            *("unshare", "-m", "sh", "-ec", script, "sh"),
            *(keys.ring, tmp_path / "pool", url),
        )
        assert read(url, accepting(keys))
    assert (tmp_path / "pool/m1/bin/busybox").exists()


def test_publish_keeps_other_files(tmp_path: Path, keys: Keys) -> None:
    """A second call adds to the list, and replaces both files at once."""
    www = tmp_path / "www"
    www.mkdir()
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(name.encode())
        images.publish([tmp_path / name], www, key="", best_before=None)
    assert sorted(
        line.split()[1]
        for line in (www / "SHA256SUMS").read_text().split("\n")
        if line
    ) == ["a.tar", "b.tar"]
    assert not (www / "SHA256SUMS.gpg").exists()
    assert (www / "a.tar").stat().st_mode & 0o777 == 0o644
    hidden = [n for n in os.listdir(www) if n.startswith(".published-")]
    assert len(hidden) == 1


def test_publish_keeps_what_imports_need(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later call without options drops neither date nor signature."""
    monkeypatch.setenv("GNUPGHOME", str(keys.home))
    www = tmp_path / "www"
    www.mkdir()
    (tmp_path / "a.tar").touch()
    date = datetime.date.today()

    def publish(key: str, best_before: datetime.date | None = None) -> None:
        images.publish(
            [tmp_path / "a.tar"], www, key=key, best_before=best_before
        )

    publish("good@x.invalid", date)
    listed = (www / "SHA256SUMS").read_text()
    assert f"BEST-BEFORE-{date}" in listed
    with pytest.raises(errors.InvalidArgument, match="its list is signed"):
        publish("")
    assert (www / "SHA256SUMS.gpg").exists()
    publish("good@x.invalid")
    assert (www / "SHA256SUMS").read_text() == listed


def test_publish_without_the_key(tmp_path: Path) -> None:
    """Nothing is published when the list cannot be signed."""
    (tmp_path / "www").mkdir()
    (tmp_path / "a.tar").touch()
    with pytest.raises(errors.StoreError, match="gpg"):
        images.publish(
            [tmp_path / "a.tar"],
            tmp_path / "www",
            key="nobody@x.invalid",
            best_before=None,
        )
    assert os.listdir(tmp_path / "www") == []


def test_publish_what_is_over(tmp_path: Path) -> None:
    """A list that every import would refuse is not published."""
    (tmp_path / "www").mkdir()
    (tmp_path / "a.tar").touch()
    yesterday = datetime.date.today() - datetime.timedelta(days=1)
    with pytest.raises(
        errors.InvalidArgument, match=f"{yesterday}: is in the past"
    ):
        images.publish(
            [tmp_path / "a.tar"],
            tmp_path / "www",
            key="",
            best_before=yesterday,
        )
    assert os.listdir(tmp_path / "www") == []


def test_publish_again_what_is_over(tmp_path: Path) -> None:
    """The date of the list is named as such, and can be removed."""
    www = tmp_path / "www"
    www.mkdir()
    (tmp_path / "a.tar").touch()
    listed = www / "SHA256SUMS"
    listed.write_text(f"{'0' * 64}  BEST-BEFORE-2020-01-31\n")
    told = f"{listed}: its date BEST-BEFORE-2020-01-31 is in the past"
    with pytest.raises(errors.InvalidArgument, match=told) as caught:
        images.publish([tmp_path / "a.tar"], www, key="", best_before=None)
    assert "remove the line" in str(caught.value.hint)
    listed.write_text("")
    images.publish([tmp_path / "a.tar"], www, key="", best_before=None)
    assert listed.read_text().endswith("  a.tar\n")
