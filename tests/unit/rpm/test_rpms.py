"""A set of RPM files, and what of it applies."""

from __future__ import annotations

import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.rpm import rpmfile, rpms
from imageprep_client.rpm.evr import Evr
from imageprep_client.rpm.rpmfile import RpmFile
from imageprep_client.rpm.rpms import Installed
from tests.unit.rpm.rpm_files import Package


def rpm(
    name: str = "nova", version: str = "2", architecture: str = "noarch"
) -> RpmFile:
    """A package of the set."""
    return RpmFile(
        path=f"/rpms/{name}.rpm",
        name=name,
        evr=Evr(0, version, "1"),
        architecture=architecture,
        provides=frozenset(),
    )


def installed(
    name: str = "nova", version: str = "1", architecture: str = "noarch"
) -> Installed:
    """A package of the image."""
    return Installed(name, Evr(0, version, "1"), architecture)


def test_set_is_sorted(tmp_path: pathlib.Path) -> None:
    """The order does not depend on the names of the files."""
    Package(name="b").write(tmp_path / "1.rpm")
    Package(name="a").write(tmp_path / "2.rpm")
    assert [each.name for each in rpms.of_directory(str(tmp_path))] == [
        "a",
        "b",
    ]


def test_other_files_are_not_looked_at(tmp_path: pathlib.Path) -> None:
    """Metadata of a repository, hidden files and directories may be there."""
    (tmp_path / "repodata").mkdir()
    (tmp_path / ".a.rpm").write_text("half")
    (tmp_path / "README").write_text("text")
    Package().write(tmp_path / "a.rpm")
    assert len(rpms.of_directory(str(tmp_path))) == 1


def test_empty_directory(tmp_path: pathlib.Path) -> None:
    """A directory without packages is named, with what to do."""
    with pytest.raises(errors.InvalidArgument, match="no file") as raised:
        rpms.of_directory(str(tmp_path))
    assert str(tmp_path) in str(raised.value)
    assert raised.value.hint


def test_no_directory(tmp_path: pathlib.Path) -> None:
    """The reason of the system is told."""
    with pytest.raises(errors.InvalidArgument, match="no such file"):
        rpms.of_directory(str(tmp_path / "gone"))


def test_broken_file_is_named(tmp_path: pathlib.Path) -> None:
    """One file that is broken is enough, and is named."""
    Package().write(tmp_path / "a.rpm")
    (tmp_path / "b.rpm").write_text("half")
    with pytest.raises(errors.InvalidFile, match=r"b\.rpm"):
        rpms.of_directory(str(tmp_path))


def test_broken_files_are_all_named(tmp_path: pathlib.Path) -> None:
    """Nobody has to find out one after the other."""
    (tmp_path / "a.rpm").write_text("half")
    (tmp_path / "b.rpm").mkdir()
    with pytest.raises(errors.InvalidArgument, match=r"a\.rpm.*b\.rpm"):
        rpms.of_directory(str(tmp_path))


def test_one_package_twice(tmp_path: pathlib.Path) -> None:
    """Two versions of one package: which is wanted only the user knows."""
    Package(version="1").write(tmp_path / "a.rpm")
    Package(version="2").write(tmp_path / "b.rpm")
    with pytest.raises(
        errors.InvalidArgument, match=r"a\.rpm and .*b\.rpm.*1-1, 2-1"
    ):
        rpms.of_directory(str(tmp_path))


def test_one_name_of_two_architectures(tmp_path: pathlib.Path) -> None:
    """A library for both kinds of programs is two packages."""
    Package(architecture="x86_64").write(tmp_path / "a.rpm")
    Package(architecture="i686").write(tmp_path / "b.rpm")
    assert len(rpms.of_directory(str(tmp_path))) == 2


@pytest.mark.parametrize(
    ("architecture", "image"),
    [
        ("noarch", "amd64"),
        ("noarch", "arm64"),
        ("x86_64", "amd64"),
        ("x86_64_v2", "amd64"),
        ("i686", "amd64"),
        ("aarch64", "arm64"),
        ("ppc64le", "ppc64le"),
        ("m68k", "unheard-of"),
    ],
)
def test_architecture_that_runs(architecture: str, image: str) -> None:
    """A package of a suitable, or unknown, architecture is accepted."""
    rpms.check_architecture([rpm(architecture=architecture)], image)


@pytest.mark.parametrize(
    ("architecture", "image"),
    [("aarch64", "amd64"), ("x86_64", "arm64"), ("x86_64", "386")],
)
def test_other_architecture(architecture: str, image: str) -> None:
    """The file, its architecture and the image's are named."""
    with pytest.raises(errors.InvalidArgument) as raised:
        rpms.check_architecture([rpm(architecture=architecture)], image)
    assert f"/rpms/nova.rpm ({architecture})" in str(raised.value)
    assert f"of {image}" in str(raised.value)


def test_newer_is_a_change() -> None:
    """An older installed package is replaced, and shown with both versions."""
    (change,) = rpms.applicability([rpm()], [installed()]).changes
    assert str(change) == "nova 1-1 -> 2-1"


@pytest.mark.parametrize(
    ("version", "where"), [("2", "present"), ("3", "older"), ("1", "changes")]
)
def test_installed_version_decides(version: str, where: str) -> None:
    """There, newer, or to be changed."""
    found = rpms.applicability([rpm()], [installed(version=version)])
    assert len(getattr(found, where)) == 1


def test_not_installed() -> None:
    """Another package is no reason to install one."""
    found = rpms.applicability([rpm()], [installed("glance")])
    assert found.absent == (rpm(),)
    assert not found.changes


@pytest.mark.parametrize(
    ("new", "old", "applies"),
    [
        ("x86_64", "x86_64", True),
        ("noarch", "x86_64", True),
        ("x86_64", "noarch", True),
        ("i686", "x86_64", False),
    ],
)
def test_architectures(new: str, old: str, applies: bool) -> None:
    """A package replaces its own architecture, and none replaces any."""
    found = rpms.applicability(
        [rpm(architecture=new)], [installed(architecture=old)]
    )
    assert bool(found.changes) == applies


def test_newest_of_several_counts() -> None:
    """Of kernels, and keys, there may be several."""
    found = rpms.applicability(
        [rpm()], [installed(version="3"), installed(version="1")]
    )
    assert len(found.older) == 1


def test_epoch_counts() -> None:
    """A lower version with a higher epoch is the newer package."""
    old = Installed("nova", Evr(1, "0.1", "1"), "noarch")
    assert rpms.applicability([rpm()], [old]).older


def test_names_of_all_packages(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages of a directory together are bounded as each of them is."""
    for name in "abc":
        files = [f"/{number}" for number in range(100)]
        Package(name=name, files=files).write(tmp_path / f"{name}.rpm")
    assert len(rpms.of_directory(str(tmp_path))) == 3
    monkeypatch.setattr(rpmfile, "MAX_NAMES", 15_000)
    with pytest.raises(errors.InvalidArgument, match="too many files"):
        rpms.of_directory(str(tmp_path))
