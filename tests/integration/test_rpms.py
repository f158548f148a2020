"""RPM files and the order of versions, held against rpm itself."""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.rpm import rpmfile
from imageprep_client.rpm.evr import Evr, key
from tests import programs, rpm_packages
from tests.rpm_packages import OLD

_LETTERS = "0019aAz.-_+~^"


@dataclasses.dataclass(frozen=True)
class Package(rpm_packages.Package):
    """A package with all that is read, packed in some way."""

    packed: str = ""

    def spec(self) -> str:
        """As rpmbuild takes it."""
        lines = (
            f"{self.packed}\nName: {self.name}\nEpoch: 3\n"
            "Provides: api(x) = 2\nProvides: other\n"
        )
        return super().spec().replace(f"Name: {self.name}\n", lines, 1)


def rpm(*words: str) -> str:
    """The output of rpm."""
    assert shutil.which("rpm"), "rpm is not installed; see tools/check"
    return programs.run("rpm", *words)


def is_whole(path: Path) -> bool:
    """Whether rpm finds all digests of a file right."""
    done = subprocess.run(
        ["rpmkeys", "--checksig", "--nosignature", str(path)],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def compared(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """The order that rpm has for pairs of versions."""
    calls = "".join(
        f't[#t+1] = rpm.vercmp("{one}", "{other}") ' for one, other in pairs
    )
    told = rpm(
        "--eval", f'%{{lua: t = {{}} {calls} print(table.concat(t, " "))}}'
    )
    return [int(word) for word in told.split()]


def order(one: Any, other: Any) -> int:
    """The same, of what is compared here."""
    return int(one > other) - int(one < other)


def versions(count: int, letters: str) -> list[str]:
    """Random versions; many of them begin alike."""
    source = random.Random(count)  # noqa: S311 - no secret
    found = ["1"]
    while len(found) < count:
        start = source.choice(found)[: source.randrange(6)]
        end = source.choices(letters, k=source.randrange(1, 4))
        found.append(f"{start}{''.join(end)}")
    return found


def test_versions_are_in_the_order_of_rpm() -> None:
    """Of any two versions the same one is newer."""
    source = random.Random(1)  # noqa: S311 - no secret
    # rpm parts the release from the version at a hyphen.
    words = versions(700, _LETTERS.replace("-", ""))
    pairs = [(source.choice(words), source.choice(words)) for _ in range(3000)]
    found = [order(key(one), key(other)) for one, other in pairs]
    assert list(zip(pairs, found, strict=True)) == list(
        zip(pairs, compared(pairs), strict=True)
    )
    assert {-1, 0, 1} <= set(found)


def test_epochs_and_releases_are_in_the_order_of_rpm() -> None:
    """Epoch, version and release count one after the other."""
    source = random.Random(2)  # noqa: S311 - no secret
    words = [word for word in versions(40, "01a.~") if word]

    def evr() -> Evr:
        return Evr(
            source.randrange(2), source.choice(words), source.choice(words[:9])
        )

    pairs = [(evr(), evr()) for _ in range(1000)]
    texts = [
        tuple(f"{x.epoch}:{x.version}-{x.release}" for x in pair)
        for pair in pairs
    ]
    found = [order(one, other) for one, other in pairs]
    assert found == compared([(one, other) for one, other in texts])


@pytest.mark.parametrize(
    "packed",
    [
        "",
        "%define _binary_payload w9.gzdio",
        "%define _binary_payload w7.xzdio",
        "%define _binary_payload w19.zstdio",
        "%define _binary_filedigest_algorithm 1",
    ],
)
def test_headers_are_read_as_rpm_reads_them(
    tmp_path: Path, packed: str
) -> None:
    """Whatever a package is packed with, the same names are found."""
    package = Package(packed=packed, arch="x86_64", version="1.0~rc1^git2")
    path = rpm_packages.build(tmp_path, package)
    found = rpmfile.read(str(path))
    told = rpm(
        *("-qp", "--qf"),
        r"%{NAME}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|%{ARCH}",
        str(path),
    )
    evr = found.evr
    assert told == "|".join(
        [found.name, str(evr.epoch), evr.version, evr.release, "x86_64"]
    )
    provides = rpm("-qp", "--qf", r"[%{PROVIDENAME}\n]", str(path)).split()
    files = rpm("-qpl", str(path)).split()
    assert found.provides == {*provides, *files}
    assert found.file_name == path.name


def test_damage_that_rpm_finds_is_found(tmp_path: Path) -> None:
    """A file that is let through is one that rpm lets through."""
    path = rpm_packages.build(tmp_path, OLD)
    content = path.read_bytes()
    source = random.Random(3)  # noqa: S311 - no secret
    # Before it are the lead, of which rpm reads no more than the start, and
    # the signatures, which are rpm's own business.
    start = content.index(b"\x8e\xad\xe8", 200)
    refused = 0
    for _ in range(60):
        changed = bytearray(content)
        changed[source.randrange(start, len(content))] ^= source.randrange(
            1, 256
        )
        path.write_bytes(changed)
        try:
            rpmfile.read(str(path))
        except errors.InvalidFile:
            refused += 1
        else:
            assert is_whole(path)
    assert refused >= 59


def test_source_package(tmp_path: Path) -> None:
    """A source package of rpmbuild is told from the others."""
    spec = tmp_path / "a.spec"
    spec.write_text(OLD.spec())
    defines = (f"_topdir {tmp_path}", f"_srcrpmdir {tmp_path}")
    programs.run(
        *["rpmbuild", "-bs", "--quiet"]
        + [word for define in defines for word in ("--define", define)]
        + [str(spec)]
    )
    (path,) = tmp_path.glob("*.src.rpm")
    with pytest.raises(errors.InvalidFile, match="source package"):
        rpmfile.read(str(path))
