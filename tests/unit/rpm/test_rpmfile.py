"""Reading one RPM file."""

from __future__ import annotations

import pathlib
import random
import re

import pytest

from imageprep_client import errors
from imageprep_client.rpm import rpmfile
from imageprep_client.rpm.evr import Evr
from tests.unit.rpm import rpm_files
from tests.unit.rpm.rpm_files import INT32, STRING, STRINGS, Package


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where the file is written."""
    return tmp_path / "a.rpm"


def refused(path: pathlib.Path, content: bytes) -> errors.InvalidFile:
    """The error that this content gives."""
    path.write_bytes(content)
    with pytest.raises(errors.InvalidFile) as raised:
        rpmfile.read(str(path))
    assert str(path) in str(raised.value)
    return raised.value


def test_names(path: pathlib.Path) -> None:
    """Name, epoch, version, release and architecture are read."""
    package = Package(
        name="python3-nova",
        epoch=1,
        version="29.0.1~rc1",
        release="0.2.el9",
        architecture="x86_64",
    )
    rpm = rpmfile.read(package.write(path))
    assert rpm.name == "python3-nova"
    assert rpm.evr == Evr(1, "29.0.1~rc1", "0.2.el9")
    assert str(rpm) == "python3-nova-1:29.0.1~rc1-0.2.el9.x86_64"
    assert rpm.file_name == "python3-nova-29.0.1~rc1-0.2.el9.x86_64.rpm"


def test_no_epoch_is_zero(path: pathlib.Path) -> None:
    """A package without an epoch has 0, as in rpm's comparisons."""
    assert rpmfile.read(Package().write(path)).evr.epoch == 0


def test_provides(path: pathlib.Path) -> None:
    """Names and files that others may require are read."""
    package = Package(
        provides=["libnova.so.1()(64bit)"], files=["/usr/bin/nova", "/etc/n"]
    )
    assert rpmfile.read(package.write(path)).provides == {
        "nova-api",
        "libnova.so.1()(64bit)",
        "/usr/bin/nova",
        "/etc/n",
    }


@pytest.mark.parametrize(
    "digests", [("header", "payload"), ("all",), ("header", "payload", "all")]
)
def test_digests_that_will_do(
    path: pathlib.Path, digests: tuple[str, ...]
) -> None:
    """The digests of old and of new versions of rpm are enough."""
    rpmfile.read(Package(digests=digests).write(path))


@pytest.mark.parametrize("digests", [(), ("header",), ("payload",)])
def test_unprotected(path: pathlib.Path, digests: tuple[str, ...]) -> None:
    """Content that no digest covers cannot be told from damage."""
    error = refused(path, Package(digests=digests).render())
    assert "no digest" in str(error)


def test_source_package(path: pathlib.Path) -> None:
    """A source package is no package to install."""
    error = refused(path, Package(source=True).render())
    assert "is a source package" in str(error)
    assert error.hint


def test_missing(tmp_path: pathlib.Path) -> None:
    """The reason of the system is told."""
    with pytest.raises(errors.InvalidFile, match="no such file"):
        rpmfile.read(str(tmp_path / "a.rpm"))


def test_directory(tmp_path: pathlib.Path) -> None:
    """A directory may have any name, and is no package."""
    with pytest.raises(errors.InvalidFile, match="not a regular file"):
        rpmfile.read(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"PK\3\4" * 100])
def test_something_else(path: pathlib.Path, content: bytes) -> None:
    """A file without the magic number is no RPM file at all."""
    assert "is no RPM file" in str(refused(path, content))


def test_every_cut_is_found(path: pathlib.Path) -> None:
    """A file of which the end is missing is never taken for whole."""
    content = Package(payload=b"x" * 50).render()
    for length in range(0, len(content), 7):
        error = refused(path, content[:length])
        assert re.search("cut off|no RPM file", str(error))
        assert error.hint


def test_every_changed_byte_is_found(path: pathlib.Path) -> None:
    """After the signatures there is no byte that may change."""
    content = Package(payload=b"x" * 50).render()
    start = content.rindex(b"\x8e\xad\xe8\x01")
    for position in range(start, len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x41
        refused(path, bytes(changed))


def test_more_after_the_end(path: pathlib.Path) -> None:
    """A file with something behind it is damaged."""
    refused(path, Package().render() + b"more")


def test_noise_gives_errors_and_nothing_else(path: pathlib.Path) -> None:
    """Whatever is in the file, it is either read or refused."""
    source = random.Random(2)  # noqa: S311 - no secret
    content = Package(digests=("all",)).render()
    for _ in range(500):
        changed = bytearray(content)
        for _ in range(source.randint(1, 20)):
            position = source.randrange(4, len(changed))
            changed[position] = source.randrange(256)
        path.write_bytes(bytes(changed))
        try:
            rpmfile.read(str(path))
        except errors.InvalidFile as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "tags",
    [
        {1000: (STRING, "--root=/")},
        {1000: (STRING, "")},
        {1001: (STRING, "1-2")},
        {1002: (STRING, "1\n2")},
        {1022: (STRING, "../x")},
        {1000: (INT32, [1])},
        {1003: (STRING, "1")},
        {1116: (INT32, [7]), 1117: (STRINGS, ["a"]), 1118: (STRINGS, ["/"])},
        {1116: (INT32, [0, 0]), 1117: (STRINGS, ["a"])},
    ],
)
def test_nonsense_in_the_header(
    path: pathlib.Path, tags: dict[int, rpm_files.Value]
) -> None:
    """Values that would be options, paths or other types are refused."""
    assert "is damaged" in str(refused(path, Package(more=tags).render()))


def test_header_that_claims_gigabytes(path: pathlib.Path) -> None:
    """A size is not believed before the bytes are there."""
    content = bytearray(Package().render())
    content[96 + 8 : 96 + 16] = b"\xff" * 8
    assert "larger than rpm allows" in str(refused(path, bytes(content)))


def test_names_that_multiply(path: pathlib.Path) -> None:
    """Files share directories in a header: all paths together are bounded."""
    count = 30_000
    tags: dict[int, rpm_files.Value] = {
        1116: (INT32, [0] * count),
        1117: (STRINGS, [str(number) for number in range(count)]),
        1118: (STRINGS, [f"/{'d' * 60_000}/"]),
    }
    error = refused(path, Package(more=tags).render())
    assert "paths of 18" in str(error)


def test_values_that_multiply(path: pathlib.Path) -> None:
    """Empty values take memory, too."""
    tags: dict[int, rpm_files.Value] = {
        1117: (STRINGS, [""] * ((1 << 20) + 1))
    }
    assert "values of tag" in str(refused(path, Package(more=tags).render()))


def test_huge_header(path: pathlib.Path) -> None:
    """A header that is larger than those of packages is not read."""
    content = bytearray(Package().render())
    content[96 + 12 : 96 + 16] = (1 << 27).to_bytes(4, "big")
    assert f"header of {1 << 27} bytes" in str(refused(path, bytes(content)))
