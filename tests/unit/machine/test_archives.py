"""Archives of machines: unpacked faithfully, or not at all."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import tarfile
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.machine.archives import UnpackLimits, unpack
from imageprep_client.machine.archives.judging import BadArchive, Judge
from imageprep_client.programs import tar
from tests import machines, programs
from tests.machines import ROOT, archive, member

pytestmark = pytest.mark.needs_root
HOSTILE = machines.hostile()
LIMITS = UnpackLimits(size=2 << 20, members=1000)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty directory that only root can enter."""
    (tmp_path / "private").mkdir(mode=0o700)
    target = tmp_path / "private/root"
    target.mkdir(mode=0o700)
    return target


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive(target: Path, case: str) -> None:
    """It is refused with one line, and nothing is written beside."""
    content, told = HOSTILE[case]
    with pytest.raises(BadArchive, match=f"^a.tar: .*{told}") as caught:
        unpack(io.BytesIO(content), target, name="a.tar", limits=LIMITS)
    assert str(caught.value).isprintable()
    assert os.listdir(target.parent) == ["root"]


@pytest.mark.parametrize("step", [1, 511, 513, 1000])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_in_pieces(case: str, step: int) -> None:
    """It does not matter how the content is cut; no bad member passes."""
    content = HOSTILE[case][0][: 1 << 16]
    judge = Judge("a.tar", UnpackLimits(1000, 1000))
    with pytest.raises(BadArchive):
        _judged(judge, content, step)


def test_what_is_judged_passes_unchanged() -> None:
    """Whatever the pieces are, the archive passes byte for byte."""
    content = archive(
        ROOT,
        member("d", tarfile.DIRTYPE),
        member("d/file", content=b"x" * 3000),
        member("long/" * 40 + "name", content=b"y"),
        member("s", tarfile.SYMTYPE, linkname="/absolute"),
        member("h", tarfile.LNKTYPE, linkname="d/file"),
    )
    for step in (1, 100, 512, 5000, len(content)):
        judge = Judge("a.tar", UnpackLimits())
        assert _judged(judge, content, step) == content


def _judged(judge: Judge, content: bytes, step: int) -> bytes:
    passed = b"".join(
        bytes(part)
        for at in range(0, len(content), step)
        for part in judge.feed(content[at : at + step])
    )
    judge.finish()
    return passed


def test_devices_are_left_out(target: Path) -> None:
    """Members below /dev are made at a start, and not unpacked."""
    content = archive(
        ROOT,
        member("dev", tarfile.DIRTYPE),
        member("./dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("dev/file", content=b"x" * 5000),
        member("after", content=b"y"),
    )
    assert unpack(io.BytesIO(content), target, name="a.tar").devices == 2
    assert not os.listdir(target / "dev")
    assert (target / "after").read_bytes() == b"y"


def test_privileges_are_named(target: Path) -> None:
    """Known programs may have them; others where it was said."""
    content = archive(
        ROOT,
        member("usr/bin/sudo", mode=0o4755),
        member("opt/helper", mode=0o2755),
        member("var/mail", tarfile.DIRTYPE, mode=0o2775),
    )
    unpacked = unpack(
        io.BytesIO(content),
        target,
        name="a.tar",
        declared=frozenset({"opt/helper"}),
    )
    assert unpacked.privileged == ["usr/bin/sudo", "opt/helper"]
    assert stat.S_IMODE((target / "usr/bin/sudo").stat().st_mode) == 0o4755


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_compressions(target: Path, compress) -> None:
    """An archive is known by its first bytes; streams may be several."""
    content = archive(ROOT, member("f", content=b"text"))
    content = compress(content[:700]) + compress(content[700:])
    unpack(io.BytesIO(content), target, name="a")
    assert (target / "f").read_bytes() == b"text"


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_damaged_compression(target: Path, compress) -> None:
    """A stream that is cut short or damaged is refused."""
    content = compress(archive(ROOT, member("f", content=os.urandom(9000))))
    flipped = bytes([content[500] ^ 0xFF])
    for damaged in (content[:-9], content[:500] + flipped + content[501:]):
        with pytest.raises(BadArchive, match=r"^a: is (cut short|damaged)"):
            unpack(io.BytesIO(damaged), target, name="a")


def test_everything_is_kept(target: Path, tmp_path: Path) -> None:
    """Owners, modes, attributes, ACLs, capabilities, links and holes."""
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    ping = source / "bin/ping"
    ping.write_bytes(b"program")
    programs.run("setcap", "cap_net_raw+ep", ping)
    programs.run("setfattr", "-n", "user.note", "-v", "kept", ping)
    programs.run("setfacl", "-m", "u:1234:r", ping)
    os.link(ping, source / "linked")
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.write(b"begin")
    os.chown(source / "sparse", 71234, 81234)
    os.mkfifo(source / "fifo")
    packed = tmp_path / "a.tar"
    with tar.packing(source) as packing:
        packed.write_bytes(packing.stdout.read())
        packing.finish()
    assert packed.stat().st_size < 1 << 20
    with packed.open("rb") as file:
        unpack(file, target, name="a.tar")
    for tree in (source, target):
        assert programs.run("getcap", tree / "bin/ping").endswith("raw=ep\n")
    for look in (
        ["find", ".", "-printf", r"%p %m %U %G %s %n %l %y\n"],
        ["getfattr", "-R", "-d", "-m-", "."],
        ["getfacl", "-R", "-n", "."],
    ):
        assert _told(source, *look) == _told(target, *look)
    assert (target / "sparse").stat().st_blocks < 1000


def _told(directory: Path, *words: str) -> list[str]:
    command = ("sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", str(directory))
    return sorted(programs.run(*command, *words).splitlines())


def test_what_the_file_system_cannot_keep(target: Path) -> None:
    """A lost attribute is an error: the machine would not be the same."""
    programs.run("mount", "-t", "ramfs", "ramfs", target)
    content = archive(
        ROOT, member("f", pax_headers={"SCHILY.xattr.user.note": "text"})
    )
    try:
        with pytest.raises(tar.TarError, match=r"user\.note"):
            unpack(io.BytesIO(content), target, name="a")
    finally:
        programs.run("umount", target)


def test_no_room(target: Path) -> None:
    """An archive of more than the file system holds is refused by its size."""
    programs.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", target)
    content = archive(ROOT, member("f", content=bytes(100_000)))
    try:
        with pytest.raises(errors.NoSpace, match="bytes are free, and"):
            unpack(io.BytesIO(content), target, name="a")
    finally:
        programs.run("umount", target)


def test_nothing_else_can_be_written(target: Path) -> None:
    """Where tar runs, all but the target is read-only, without network."""
    from imageprep_client.programs.tar import closed

    script = (
        f"touch {target.parent}/x /tmp/x; touch inside;"
        " ls /sys/class/net; readlink /proc/self/ns/net"
    )
    told = programs.run(
        *("python3", "-I", "-S", closed.__file__, target),
        *("sh", "-c", f"{script}; true"),
    )
    assert told.split()[-1] != os.readlink("/proc/self/ns/net")
    assert os.listdir(target) == ["inside"]
    assert os.listdir(target.parent) == ["root"]
