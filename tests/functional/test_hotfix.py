"""``hotfix`` through the real shell, as far as buildah is not needed."""

from __future__ import annotations

import pathlib

import pytest

from tests.conftest import Golden
from tests.functional import base
from tests.local_storage import LocalStorage
from tests.unit.modify.rpm_files import Package

HOTFIX = ("image-prepare", "hotfix")


@pytest.fixture
def rpms(
    openstack: base.OpenStack, local_storage: LocalStorage
) -> pathlib.Path:
    """A directory with a package; local storage is empty."""
    openstack.environment.update(local_storage.environment)
    path = openstack.home / "rpms"
    path.mkdir()
    Package().write(path / "a.rpm")
    return path


def refused(openstack: base.OpenStack, *words: str) -> str:
    """What the command says to these, in one line and perhaps a hint."""
    told = openstack(
        *HOTFIX, *words, status=2, stderr=r"[^\n]+(\nhint: [^\n]+)?"
    )
    assert not told.stdout
    return told.stderr


def test_help(openstack: base.OpenStack, golden: Golden) -> None:
    """The help names every option."""
    golden.check(
        "hotfix-help.txt", openstack.help(*HOTFIX), normal=base.normal_help
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--image", "A/b:1"), "invalid"),
        (("--image", "x/b:1", "--tag", "a/b"), "invalid tag"),
        (("--image", "x/b:1", "--release", "folsom"), "no such release"),
        (("--image", "x/b:1", "--registry-url", "a b"), "invalid registry"),
        (
            ("--image", "x/b:1", "--registry-url", "oci:/srv"),
            "no registry, which nodes could pull from",
        ),
        (
            ("--image", "x/b:1", "--output-env-file", "no/such/file"),
            "no such directory",
        ),
        (
            ("--image", f"x.io/b@sha256:{'0' * 64}"),
            "no tag that the new image's could begin with",
        ),
        (("--image", "containers-storage:x/b:1"), "is not in local storage"),
    ],
)
def test_bad_input(
    openstack: base.OpenStack,
    rpms: pathlib.Path,
    words: tuple[str, ...],
    message: str,
) -> None:
    """What cannot be used ends the command with one line."""
    told = refused(openstack, *words, "--rpms-path", str(rpms))
    assert message in told


def test_missing_directory(openstack: base.OpenStack) -> None:
    """The directory is named as the user has it."""
    told = refused(openstack, "--image", "x/b:1", "--rpms-path", "gone")
    assert "gone: no such file or directory" in told


def test_no_buildah(
    openstack: base.OpenStack,
    rpms: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """Without buildah the error names the package that has it."""
    openstack.environment["PATH"] = str(tmp_path)
    told = refused(openstack, "--image", "x/b:1", "--rpms-path", str(rpms))
    assert "buildah: no such program" in told
    assert "install the package buildah" in told


def test_no_room_for_temporary_files(
    openstack: base.OpenStack, rpms: pathlib.Path
) -> None:
    """A TMPDIR that is none is named."""
    openstack.environment["TMPDIR"] = "/no/such/directory"
    told = refused(openstack, "--image", "x/b:1", "--rpms-path", str(rpms))
    assert "/no/such/directory" in told
