"""``hotfix`` through the real shell, as far as buildah is not needed."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from imageprep_client.testing.registry import RegistryServer
from tests.functional import base
from tests.local_storage import LocalStorage
from tests.unit.rpm.rpm_files import Package

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
    """The one line that the command says, perhaps with a hint."""
    told = openstack(
        *HOTFIX, *words, status=2, stderr=r"[^\n]+(\nhint: [^\n]+)?"
    )
    assert not told.stdout
    return told.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--image", "A/b:1"), "invalid"),
        (("--image", "x/b:1", "--tag", "a/b"), "invalid tag"),
        (("--image", "x/b:1", "--release", "folsom"), "no such release"),
        (("--image", "x/b:1", "--registry-url", "a b"), "invalid registry"),
        (
            ("--image", "x/b:1", "--registry-url", "oci:/srv"),
            "not a registry that nodes can pull from",
        ),
        (
            ("--image", "x/b:1", "--output-env-file", "no/such/file"),
            "no such directory",
        ),
        (
            ("--image", f"x.io/b@sha256:{'0' * 64}"),
            "no tag that the new tag could begin with",
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
    """Unusable input ends the command with one line."""
    told = refused(openstack, *words, "--rpms-path", str(rpms))
    assert message in told


def test_missing_directory(openstack: base.OpenStack) -> None:
    """The directory is named as the user has it."""
    told = refused(openstack, "--image", "x/b:1", "--rpms-path", "gone")
    assert "gone: no such file or directory" in told


def test_no_buildah(
    openstack: base.OpenStack, rpms: pathlib.Path, tmp_path: pathlib.Path
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


@pytest.mark.parametrize(
    ("image", "result"),
    [
        ("localhost/ns/a:1", "localhost/ns/a:1-fix"),
        ("containers-storage:localhost/ns/a:1", "localhost/ns/a:1-fix"),
        ("a:1", "localhost/ns/a:1-fix"),
        ("localhost/ns/a", "localhost/ns/a:latest-fix"),
        ("{id}", "localhost/ns/a:1-fix"),
    ],
)
def test_name_of_the_result(
    openstack: base.OpenStack,
    local_storage: LocalStorage,
    rpms: pathlib.Path,
    image: str,
    result: str,
) -> None:
    """However an image is named, the new one has its full name."""
    name = (
        "localhost/ns/a:latest" if "latest" in result else "localhost/ns/a:1"
    )
    identity = local_storage.build(name)
    local_storage.build(result, {"/etc/motd": b"hello"})
    told = refused(
        openstack,
        *("--image", image.format(id=identity), "--tag", "fix"),
        *("--rpms-path", str(rpms)),
    )
    assert f"{result}: exists in local storage already" in told


def test_digest_of_a_local_image(
    openstack: base.OpenStack, local_storage: LocalStorage, rpms: pathlib.Path
) -> None:
    """A digest chooses the image, and the tag beside it names the result."""
    local_storage.build("localhost/a:1")
    local_storage.build("localhost/a:2-fix", {"/etc/motd": b"hello"})
    found = local_storage.buildah.image("localhost/a:1")
    assert found is not None
    told = refused(
        openstack,
        *("--image", f"localhost/a:2@{found.digest}", "--tag", "fix"),
        *("--rpms-path", str(rpms)),
    )
    assert "localhost/a:2-fix: exists in local storage already" in told


def test_image_with_several_names(
    openstack: base.OpenStack, local_storage: LocalStorage, rpms: pathlib.Path
) -> None:
    """An ID of an image that has two names is not enough."""
    identity = local_storage.build("localhost/a:1")
    local_storage.buildah.tag(identity, "localhost/b:1")
    told = refused(openstack, "--image", identity, "--rpms-path", str(rpms))
    assert "the name is ambiguous: localhost/a:1, localhost/b:1" in told


@pytest.fixture
def empty() -> Iterator[str]:
    """The host and port of a registry without images."""
    with RegistryServer() as server:
        yield server.host


def test_registry_is_asked_for(
    openstack: base.OpenStack,
    local_storage: LocalStorage,
    rpms: pathlib.Path,
    empty: str,
) -> None:
    """With docker:// a local image of this name does not count."""
    local_storage.build(f"{empty}/ns/a:1")
    told = refused(
        openstack,
        *("--image", f"docker://{empty}/ns/a:1", "--rpms-path", str(rpms)),
    )
    assert "manifest unknown" in told


def test_all_images_fail(
    openstack: base.OpenStack, rpms: pathlib.Path, empty: str
) -> None:
    """Nothing is done when no image can be had; each is named."""
    told = refused(
        openstack,
        *("--image", f"{empty}/ns/a:1", "--image", f"{empty}/ns/b:1"),
        *("--rpms-path", str(rpms)),
    )
    assert f"{empty}/ns/a:1" in told
    assert f"{empty}/ns/b:1" in told


def test_release_of_an_environment(
    openstack: base.OpenStack, rpms: pathlib.Path
) -> None:
    """The header of an environment file names the release."""
    (openstack.home / "env.yaml").write_text("# Release: folsom\n")
    words = ("--image", "x/b:1", "--rpms-path", str(rpms), "-e", "env.yaml")
    assert "'folsom': no such release" in refused(openstack, *words)
    told = refused(openstack, *words, "--release", "bexar")
    assert "'bexar': no such release" in told
