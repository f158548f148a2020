"""Images whose layers are not those that their config names.

buildah 1.28 and podman of the same age take such images: nothing that local
storage has is an alibi.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests import rpm_packages, servers
from tests.functional.base import OpenStack
from tests.integration.modifying import KEYSTONE, NOVA, Site
from tests.local_storage import LocalStorage, archive
from tests.rpm_images import RpmImages
from tests.rpm_packages import NEW
from tests.servers import DockerRegistry

NAME = "localhost/ns/nova:1"
GOOD = archive({"/app": b"good" * 100}, {})
EVIL = archive({"/app": b"evil" * 100}, {})
PULLED = "localhost/ns/evil:1"


def liar(directory: Path, claimed: str) -> Path:
    """A layout with the image 1, which has the layer EVIL.

    :param claimed: the diff ID that it claims for it.
    """
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [claimed]},
    }
    layer = content.piece(gzip.compress(EVIL), mediatypes.OCI_LAYER_GZIP)
    described = content.piece(
        json.dumps(config).encode(), mediatypes.OCI_CONFIG
    )
    image = content.image("liar", [layer], config=described)
    put(LayoutRoot(directory).store("x"), image, "1")
    return directory / "x"


def copy(layout: Path, name: str) -> None:
    """Put an image of a layout into a registry, as anybody could."""
    subprocess.run(
        [
            *("skopeo", "copy", "--quiet", "--dest-tls-verify=false"),
            *(f"oci:{layout}:1", f"docker://{name}"),
        ],
        check=True,
    )


def unpacked(name: str, directory: Path) -> list[bytes]:
    """The layers that an image of a registry has, unpacked."""
    subprocess.run(
        [
            *("skopeo", "copy", "--quiet", "--src-tls-verify=false"),
            *(f"docker://{name}", f"dir:{directory}"),
        ],
        check=True,
    )
    manifest = json.loads((directory / "manifest.json").read_bytes())
    return [
        gzip.decompress(
            (directory / each["digest"].partition(":")[2]).read_bytes()
        )
        for each in manifest["layers"]
    ]


def test_poisoned_destination(
    openstack: OpenStack,
    local_storage: LocalStorage,
    registry: DockerRegistry,
    tmp_path: Path,
) -> None:
    """A push replaces an image that claims to have the same layer."""
    local_storage.build(NAME, {"/app": b"good" * 100})
    built = local_storage.buildah.image(NAME)
    assert built is not None
    (diff_id,) = built.diff_ids
    name = f"{registry.host}/ns/nova:1"
    copy(liar(tmp_path / "liar", diff_id), name)
    openstack(
        *("image-prepare", "push", "--local", NAME),
        *("--registry-url", registry.host),
        stderr=".*",
    )
    (layer,) = unpacked(name, tmp_path / "pulled")
    assert f"sha256:{hashlib.sha256(layer).hexdigest()}" == diff_id


@pytest.mark.parametrize("records", [True, False])
def test_local_image(
    openstack: OpenStack,
    local_storage: LocalStorage,
    registry: DockerRegistry,
    tmp_path: Path,
    *,
    records: bool,
) -> None:
    """A false image that was pulled is not pushed, with the true layer at
    the destination or not, whether or not local storage has records.
    """
    layout = liar(tmp_path / "liar", digests.of(GOOD))
    local_storage.buildah.pull(str(layout), "1", PULLED)
    if not records:
        openstack.environment["PATH"] = without_records(
            tmp_path, openstack.environment["PATH"]
        )
    openstack(
        *("image-prepare", "push", "--local", PULLED),
        *("--registry-url", registry.host),
        status=2,
        stderr=f".*{PULLED}.*layers.*",
    )


def without_records(directory: Path, path: str) -> str:
    """A PATH with a buildah that does not say where its storage is."""
    program = directory / "bin" / "buildah"
    program.parent.mkdir()
    real = subprocess.check_output(["which", "buildah"], text=True).strip()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = info ] && exec echo "{{}}"\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    return f"{program.parent}:{path}"


@pytest.mark.parametrize("pulled", [False, True])
def test_hotfix(
    openstack: OpenStack,
    local_storage: LocalStorage,
    registry: DockerRegistry,
    tmp_path: Path,
    *,
    pulled: bool,
) -> None:
    """A false image is not changed, also when local storage has it."""
    layout = liar(tmp_path / "liar", digests.of(GOOD))
    name = f"{registry.host}/ns/evil:1"
    copy(layout, name)
    if pulled:
        local_storage.buildah.pull(str(layout), "1", PULLED)
    rpm_packages.build(tmp_path / "rpms", NEW)
    openstack(
        *("image-prepare", "hotfix", "--image", f"docker://{name}"),
        *("--rpms-path", str(tmp_path / "rpms"), "--tag", "fix"),
        *("--registry-url", registry.host),
        status=2,
        stderr=f".*{name}: .*layer.*config.*",
    )


def test_run(
    openstack: OpenStack,
    local_storage: LocalStorage,
    rpm_images: RpmImages,
    registry: DockerRegistry,
    tmp_path: Path,
) -> None:
    """Of two images that are changed, the false one is refused, and the
    other one keeps its layer.
    """
    with servers.docker_registry(tmp_path / "destination") as destination:
        site = Site(
            openstack.home, registry, destination, local_storage, rpm_images
        )
        local_storage.build(NAME, {"/app": b"good" * 100})
        built = local_storage.buildah.image(NAME)
        assert built is not None
        site.publish(NAME, f"ns/{NOVA}:1.0")
        copy(
            liar(tmp_path / "liar", built.diff_ids[0]),
            f"{registry.host}/ns/{KEYSTONE}:1.0",
        )
        dockerfile = openstack.home / "dockerfile"
        dockerfile.mkdir()
        (dockerfile / "Dockerfile").write_text("FROM x\nLABEL a=b\n")
        site.configure(
            site.entry(
                *(KEYSTONE, NOVA),
                modify_role="tripleo-modify-image",
                modify_append_tag="-x",
                modify_vars={
                    "tasks_from": "modify_image.yml",
                    "modify_dir_path": str(dockerfile),
                },
            )
        )
        result = site.run("--keep-going", status=1)
        assert result.row(KEYSTONE)["outcome"] == "failed"
        assert "has the diff ID" in result.row(KEYSTONE)["error"]
        assert result.row(NOVA)["outcome"] == "copied"
        name = f"{destination.host}/ns/{NOVA}:1.0-x"
        low, _ = unpacked(name, tmp_path / "pulled")
        assert digests.of(low) == built.diff_ids[0]
