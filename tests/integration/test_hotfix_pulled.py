"""``hotfix`` of images of a registry that local storage has already."""

from __future__ import annotations

from pathlib import Path

from tests import rpm_packages
from tests.functional.base import OpenStack
from tests.local_storage import LocalStorage
from tests.rpm_images import RpmImages
from tests.rpm_packages import NEW, OLD
from tests.servers import DockerRegistry


def test_image_without_a_name_stays(
    tmp_path: Path,
    registry: DockerRegistry,
    local_storage: LocalStorage,
    rpm_images: RpmImages,
) -> None:
    """The user's image is there afterwards, under the names it had."""
    openstack = OpenStack(tmp_path, **local_storage.environment)
    buildah = local_storage.buildah
    base = rpm_images.base(local_storage)
    with buildah.container(base) as container:
        container.run("sh", "-c", "echo hello > /etc/motd", user="root")
        told = buildah.run("commit", "--quiet", container.name)
    name = f"{registry.host}/ns/none:1"
    buildah.run(
        *("push", "--quiet", "--tls-verify=false", "--format", "oci"),
        *("--", told.strip(), f"docker://{name}"),
    )
    rpm_packages.build(tmp_path / "rpms", NEW)
    openstack(
        *("image-prepare", "hotfix", "--image", f"docker://{name}"),
        *("--rpms-path", str(tmp_path / "rpms"), "--tag", "fix"),
        *("--registry-url", registry.host),
        stderr=".*",
    )
    # It is the parent of the new one now: not every list has it.
    assert buildah.image(told.strip()) is not None
    assert local_storage.names() == {base, f"{name}-fix"}


def test_no_new_image(
    tmp_path: Path,
    registry: DockerRegistry,
    local_storage: LocalStorage,
    rpm_images: RpmImages,
) -> None:
    """An image that was pulled in vain is gone, and nothing was changed."""
    openstack = OpenStack(tmp_path, **local_storage.environment)
    name = f"{registry.host}/ns/none:1"
    local_storage.buildah.run(
        *("push", "--quiet", "--tls-verify=false", "--"),
        *(rpm_images.base(local_storage), f"docker://{name}"),
    )
    before = local_storage.names()
    rpm_packages.build(tmp_path / "rpms", OLD)
    openstack(
        *("image-prepare", "hotfix", "--image", f"docker://{name}"),
        *("--rpms-path", str(tmp_path / "rpms")),
        status=2,
        stderr="(?s).*no package applies.*",
    )
    assert local_storage.names() == before
