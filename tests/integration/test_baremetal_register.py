"""Registering in a real Glance, which looks at what it gets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from imageprep_client.baremetal import registering
from imageprep_client.baremetal.glance import Glance
from imageprep_client.host.processes import Claim
from imageprep_client.testing.faults import Fault
from tests import glance_cloud, kernels, openstack_services, programs
from tests.fault_proxy import FaultProxy
from tests.glance_cloud import MIB, PAIR, REGISTER, ROW, Cloud
from tests.relay import Relay

#: A disk of 8 MiB.
LARGE = ("--whole-disk", "disk.raw")


@pytest.fixture
def cloud(tmp_path: Path, services: openstack_services.Services) -> Cloud:
    """The cloud, with the files of a deployment in the home."""
    return glance_cloud.make(tmp_path / "home", services)


@pytest.mark.parametrize(
    ("words", "forms"),
    [
        (("--whole-disk", "disk.raw"), {"disk": ("raw", "bare")}),
        (("--whole-disk", "disk.qcow2"), {"disk": ("qcow2", "bare")}),
        (
            ("--partition", "root.raw", *PAIR),
            {
                "kernel": ("aki", "aki"),
                "ramdisk": ("ari", "ari"),
                "root": ("raw", "bare"),
            },
        ),
        (
            (*PAIR, "--deploy"),
            {
                "deploy-kernel": ("aki", "aki"),
                "deploy-ramdisk": ("ari", "ari"),
            },
        ),
    ],
    ids=["raw", "qcow2", "partition", "deploy"],
)
def test_forms(
    cloud: Cloud, words: tuple[str, ...], forms: dict[str, tuple[str, str]]
) -> None:
    """Glance takes every form; all images are active, none is left."""
    rows = cloud.register(*words)
    images = cloud.images()
    assert {
        i["image_prepare_role"]: (i["disk_format"], i["container_format"])
        for i in images
    } == forms
    assert {i["status"] for i in images} == {"active"}
    assert {row["ID"] for row in rows} == {i["id"] for i in images}


@pytest.mark.parametrize(
    ("more", "line"), [((), "root=UUID=1"), (("--deploy",), None)]
)
def test_command_line(
    cloud: Cloud, more: tuple[str, ...], line: str | None
) -> None:
    """The line that was extracted is that of its kernel, and not of an
    agent's.
    """
    digest = hashlib.sha256((cloud.home / "vmlinuz").read_bytes()).hexdigest()
    manifest = {
        "architecture": "x86_64",
        "command_line": "root=UUID=1",
        "files": {"vmlinuz": {"sha256": digest}},
    }
    (cloud.home / "manifest.json").write_text(json.dumps(manifest))
    cloud.register(*PAIR, *more)
    (kernel,) = [i for i in cloud.images() if i["disk_format"] == "aki"]
    assert kernel.get("os_command_line") == line


def test_wrong_way_round(cloud: Cloud) -> None:
    """A kernel that is given as the ramdisk is not uploaded."""
    cloud(
        *(*REGISTER, cloud.name, "--kernel", "initramfs"),
        *("--ramdisk", "vmlinuz"),
        status=2,
        stderr="vmlinuz: is a kernel\nhint: --kernel and --ramdisk may .*",
    )
    assert not cloud.images()


def test_content_and_links(cloud: Cloud) -> None:
    """A root names its kernel and ramdisk; the bytes are those given."""
    ids = {
        row["Role"]: row["ID"]
        for row in cloud.register("--partition", "root.raw", *PAIR)
    }
    (root,) = [i for i in cloud.images() if i["id"] == ids["root"]]
    assert root["img_type"] == "partition"
    assert root["kernel_id"] == ids["kernel"]
    assert root["ramdisk_id"] == ids["ramdisk"]
    assert root["hw_architecture"] == "x86_64"
    kernel = (cloud.home / "vmlinuz").read_bytes()
    assert cloud.content(ids["kernel"]) == kernel


def test_twice(cloud: Cloud) -> None:
    """The second call uploads nothing, and sets what changed."""
    first = cloud.register("--whole-disk", "disk.qcow2")
    second = cloud.register("--whole-disk", "disk.qcow2", "--public")
    assert [row["Outcome"] for row in (*first, *second)] == [
        "uploaded",
        "present",
    ]
    (image,) = cloud.images()
    assert image["visibility"] == "public"


@pytest.mark.parametrize(
    ("existing", "outcome", "names"),
    [
        ("keep", "kept", 1),
        ("replace", "uploaded", 1),
        ("rename", "uploaded", 1),
    ],
)
def test_other_content(
    cloud: Cloud, existing: str, outcome: str, names: int
) -> None:
    """An image of the name with other content is kept, replaced, renamed."""
    (before,) = cloud.register("--whole-disk", "disk.raw")
    words = ("--whole-disk", "disk.qcow2", "--existing", existing)
    (row,) = cloud.register(*words)
    assert row["Outcome"] == outcome
    assert len(cloud.images()) == names
    (image,) = cloud.images()
    assert (image["id"] == before["ID"]) is (existing == "keep")
    assert image["id"] == row["ID"]
    # Its id is used up; the next one is found.
    (again,) = cloud.register("--whole-disk", "disk.raw", *words[2:])
    assert again["Outcome"] == ("present" if existing == "keep" else outcome)


def test_dry_run(cloud: Cloud) -> None:
    """Nothing is made."""
    (row,) = cloud.register("--whole-disk", "disk.raw", "--dry-run")
    assert row["Outcome"] == "planned"
    assert not cloud.images()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--whole-disk", "root.raw"), "no whole disk"),
        (("--partition", "disk.raw"), "it is a whole disk"),
        (("--partition", "vmlinuz"), "is not safe to open"),
        (("--whole-disk", "absent"), "no such file"),
        (("--kernel", "vmlinuz"), "belong together"),
        ((), "nothing to register"),
        (("--whole-disk", "disk.raw", *PAIR), "takes no"),
        (("--whole-disk", "disk.raw", "--property", "img_type=x"), "itself"),
        (("--whole-disk", "disk.raw", "--property", "owner=x"), "of Glance"),
        (("--whole-disk", "disk.raw", "--property", "name=x"), "of Glance"),
        ((*PAIR, "--architecture", "aarch64"), "a kernel for x86_64"),
    ],
)
def test_refused(cloud: Cloud, words: tuple[str, ...], told: str) -> None:
    """An image that Ironic would refuse is refused; nothing is made."""
    cloud(*(*REGISTER, cloud.name, *words), status=2, stderr=f".*{told}.*")
    assert not cloud.images()


@pytest.fixture
def relay(cloud: Cloud) -> Iterator[Relay]:
    """Stands before Glance, and holds back what uploads 8 MiB."""
    target = cloud.services.image.removeprefix("http://")
    with Relay(target, MIB) as relay:
        yield relay


def _begun(cloud: Cloud, relay: Relay) -> subprocess.Popen[str]:
    """A run in the middle of its upload, where the relay holds it back."""
    cloud.environment["OS_IMAGE_ENDPOINT_OVERRIDE"] = f"http://{relay.host}"
    process = cloud.start(*REGISTER, cloud.name, *LARGE, *ROW)
    del cloud.environment["OS_IMAGE_ENDPOINT_OVERRIDE"]
    assert relay.held.wait(100), process.communicate()
    while [image["status"] for image in cloud.images()] != ["saving"]:
        # The bytes in the socket wait for Glance, and no call shows it.
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def test_killed(cloud: Cloud, relay: Relay) -> None:
    """After a kill in the middle the next call ends with one image."""
    process = _begun(cloud, relay)
    process.kill()
    process.communicate()
    relay.release()
    (row,) = cloud.register(*LARGE)
    assert row["Outcome"] == "uploaded"
    (image,) = cloud.images()
    assert (image["id"], image["status"]) == (row["ID"], "active")


def test_interrupted(cloud: Cloud, relay: Relay) -> None:
    """After an interrupt nothing is left."""
    process = _begun(cloud, relay)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert not cloud.images()


def test_two_at_once(cloud: Cloud, relay: Relay) -> None:
    """Of two runs at once one uploads, and both show the same image."""
    first = _begun(cloud, relay)
    second = cloud.start(*REGISTER, cloud.name, *LARGE, *ROW)
    assert second.stderr
    for line in second.stderr:
        if line.startswith(f"waiting: process {first.pid} of "):
            relay.release()
    rows = []
    for process in (first, second):
        stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        rows += json.loads(stdout)
    assert [row["Outcome"] for row in rows] == ["uploaded", "present"]
    assert len({row["ID"] for row in rows}) == 1
    (image,) = cloud.images()
    assert image["status"] == "active"


@pytest.mark.parametrize(
    "fault",
    [Fault(status=401), Fault(status=503), Fault(reset=True)],
    ids=["token expired", "unavailable", "reset"],
)
def test_upload_that_fails_for_now(cloud: Cloud, fault: Fault) -> None:
    """It is repeated from the start: the SDK would send the rest only, and
    Glance would wait for the others.
    """
    target = cloud.services.image.removeprefix("http://")
    faults = [dataclasses.replace(fault, method="PUT")]
    with FaultProxy(target, faults) as proxy:
        cloud.environment["OS_IMAGE_ENDPOINT_OVERRIDE"] = proxy.url
        (row,) = cloud.register(*LARGE)
    assert row["Outcome"] == "uploaded"
    (image,) = cloud.images()
    assert image["status"] == "active"


def test_no_room(cloud: Cloud) -> None:
    """Nothing was done, and nothing is left."""
    target = cloud.services.image.removeprefix("http://")
    with FaultProxy(target, [Fault(method="PUT", status=413)]) as proxy:
        cloud.environment["OS_IMAGE_ENDPOINT_OVERRIDE"] = proxy.url
        cloud(
            *(*REGISTER, cloud.name, *LARGE),
            status=2,
            stderr="image service: PUT .*: 413 \nhint: look at the .*quotas.*",
        )
    assert not cloud.images()


def test_interrupted_as_it_is_created(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image whose creation was not answered yet is deleted as well."""
    create = Glance.create

    def interrupted(service: Glance, fields: Mapping[str, str]) -> bool:
        assert create(service, fields)
        raise KeyboardInterrupt

    monkeypatch.setattr(Glance, "create", interrupted)
    cloud(*REGISTER, cloud.name, *LARGE, status=130, stderr="stopped.*")
    assert not cloud.images()


def test_restarted_host(cloud: Cloud, relay: Relay) -> None:
    """An upload from before a restart of this host is not waited for."""
    process = _begun(cloud, relay)
    process.kill()
    process.communicate()
    (image,) = cloud.images()
    former = dataclasses.replace(Claim.own(), boot="former")
    _set(cloud, image["id"], image_prepare_upload=str(former))
    again = cloud.start(*REGISTER, cloud.name, *LARGE, *ROW)
    stdout, stderr = again.communicate(timeout=60)
    assert again.returncode == 0, stderr
    (row,) = json.loads(stdout)
    (image,) = cloud.images()
    assert (image["id"], image["status"]) == (row["ID"], "active")


def test_upload_of_another_host(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with a way out; only so long is it waited for."""
    other = dataclasses.replace(
        Claim.own(),
        host="node7",
        machine="other",
        boot="other",
        process="12",
    )
    answer = requests.post(
        f"{cloud.services.image}/v2/images",
        json={
            "name": cloud.name,
            "image_prepare_name": cloud.name,
            "image_prepare_role": "disk",
            "image_prepare_upload": str(other),
        },
        headers={"X-Auth-Token": cloud.services.token},
        timeout=20,
    )
    identity = answer.json()["id"]
    monkeypatch.setattr(registering, "_LONGEST", 0.0)
    cloud(
        *(*REGISTER, cloud.name, *LARGE),
        status=2,
        stderr=f"{cloud.name}: process 12 of node7 uploads it since .*"
        f"\nhint: if it does not run: openstack image delete {identity}",
    )


def _set(cloud: Cloud, identity: str, **fields: object) -> None:
    """Set fields and properties of an image."""
    requests.patch(
        f"{cloud.services.image}/v2/images/{identity}",
        json=[
            {"op": "replace", "path": f"/{key}", "value": value}
            for key, value in fields.items()
        ],
        headers={
            "X-Auth-Token": cloud.services.token,
            "Content-Type": "application/openstack-images-v2.1-json-patch",
        },
        timeout=20,
    ).raise_for_status()


def test_older_image_with_the_content(cloud: Cloud) -> None:
    """It does not take the place of a newer one, which another run may have
    made: that run takes its place, and none would be left.
    """
    cloud.register(*LARGE)
    (row,) = cloud.register("--whole-disk", "disk.qcow2", "--existing", "keep")
    assert row["Outcome"] == "kept"
    newer = requests.post(
        f"{cloud.services.image}/v2/images",
        json={
            "name": cloud.name,
            "disk_format": "raw",
            "container_format": "bare",
            "image_prepare_name": cloud.name,
            "image_prepare_role": "disk",
            "image_prepare_generation": "1",
        },
        headers={"X-Auth-Token": cloud.services.token},
        timeout=20,
    ).json()["id"]
    requests.put(
        f"{cloud.services.image}/v2/images/{newer}/file",
        data=b"other",
        headers={
            "X-Auth-Token": cloud.services.token,
            "Content-Type": "application/octet-stream",
        },
        timeout=20,
    ).raise_for_status()
    (row,) = cloud.register(*LARGE, "--existing", "replace")
    assert row["Outcome"] == "uploaded"
    (image,) = cloud.images()
    assert image["image_prepare_generation"] == "2"


def test_hidden_image(cloud: Cloud) -> None:
    """An image that is not listed keeps its ID, and another is made."""
    (row,) = cloud.register(*LARGE)
    _set(cloud, row["ID"], os_hidden=True)
    (again,) = cloud.register(*LARGE)
    assert again["Outcome"] == "uploaded"
    assert again["ID"] != row["ID"]


def test_renamed_images_stay_a_set(cloud: Cloud) -> None:
    """Their set has a name of its own, lacks nothing, and leaves the name
    to the images that follow.
    """
    words = ("--partition", "root.raw", *PAIR)
    cloud.register(*words)
    (cloud.home / "initramfs").write_bytes(kernels.ramdisk(2 * MIB))
    (cloud.home / "vmlinuz").write_bytes(kernels.bzimage(size=2 * MIB))
    programs.run("mkfs.ext4", "-q", "-F", "root.raw", "8M", cwd=cloud.home)
    cloud.register(*words, "--existing", "rename")
    command = ("image-prepare", "baremetal")
    sets = [
        row
        for row in cloud.json(*command, "list")
        if row["Name"].startswith(cloud.name)
    ]
    assert [(row["Images"], row["Problems"]) for row in sets] == [(3, [])] * 2
    cloud(*command, "delete", cloud.name, stderr=".*")
    rows = cloud.register(*words)
    assert {row["Outcome"] for row in rows} == {"uploaded"}


def test_kernel_of_a_renamed_image(cloud: Cloud) -> None:
    """A kernel that both images use is not missed."""
    words = ("--partition", "root.raw", *PAIR)
    cloud.register(*words)
    programs.run("mkfs.ext4", "-q", "-F", "root.raw", "8M", cwd=cloud.home)
    cloud.register(*words, "--existing", "rename")
    command = ("image-prepare", "baremetal")
    (name,) = [
        row["Name"]
        for row in cloud.json(*command, "list")
        if row["Name"].startswith(f"{cloud.name}_")
    ]
    assert cloud.json(*command, "show", name)["problems"] == []
    orphans = cloud.json(*command, "list", "--orphans")
    assert name not in [row["Name"] for row in orphans]


def test_show_list_and_delete(cloud: Cloud) -> None:
    """The parts of an image are shown, with the instance info of Ironic."""
    ids = {
        row["Role"]: row["ID"]
        for row in cloud.register("--partition", "root.raw", *PAIR)
    }
    command = ("image-prepare", "baremetal")
    shown = cloud.json(*command, "show", cloud.name)
    assert shown["kind"] == "partition"
    assert shown["instance_info"]["image_source"] == ids["root"]
    assert shown["instance_info"]["image_type"] == "partition"
    assert shown["instance_info"]["kernel"] == ids["kernel"]
    listed = cloud.json(*command, "list")
    assert cloud.name in [row["Name"] for row in listed]
    cloud(*command, "delete", cloud.name, stderr=".*3 images deleted.*")
    assert not cloud.images()
    cloud(*command, "show", cloud.name, status=2, stderr=".*no bare-metal.*")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("--whole-disk", "disk.qcow2"), PAIR),
        (PAIR, ("--whole-disk", "disk.qcow2")),
        (PAIR, (*PAIR, "--deploy")),
    ],
    ids=["pair", "disk", "deploy"],
)
def test_kinds_are_not_mixed(
    cloud: Cloud, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    """A name stands for images of one kind."""
    rows = cloud.register(*first)
    told = rf"{cloud.name}: Glance has a [\w-]+ image of this name\nhint: .*"
    cloud(*REGISTER, cloud.name, *second, status=2, stderr=told)
    assert {i["id"] for i in cloud.images()} == {row["ID"] for row in rows}


def test_command_line_of_a_root(cloud: Cloud) -> None:
    """Ironic is not told the line of an image that is written to a disk: it
    would boot its agent with it.
    """
    for more, told in (
        ((), {"root=UUID=1"}),
        (("--partition", "root.raw"), set()),
    ):
        line = ("--property", "os_command_line=root=UUID=1")
        cloud.register(*PAIR, *more, *line)
        command = ("image-prepare", "baremetal", "show", cloud.name)
        shown = cloud.json(*command)["instance_info"]
        assert {v for k, v in shown.items() if "append" in k} == told


def test_metal3(cloud: Cloud) -> None:
    """A Metal3 host gets the URL of the disk and its checksum."""
    (row,) = cloud.register("--whole-disk", "disk.qcow2")
    command = ("image-prepare", "baremetal", "show", cloud.name, "--metal3")
    shown = cloud.json(*command)
    (image,) = cloud.images()
    assert shown == {
        "url": f"{cloud.services.image}/v2/images/{row['ID']}/file",
        "checksum": image["os_hash_value"],
        "checksumType": image["os_hash_algo"],
        "format": "qcow2",
    }


def test_metal3_takes_no_partition(cloud: Cloud) -> None:
    """Metal3 deploys whole disks only."""
    cloud.register("--partition", "root.raw", *PAIR)
    command = ("image-prepare", "baremetal", "show", cloud.name, "--metal3")
    cloud(*command, status=2, stderr=".*no whole-disk image.*")


def test_orphans(cloud: Cloud) -> None:
    """A set that lacks a part is listed, and why."""
    ids = {row["Role"]: row["ID"] for row in cloud.register(*PAIR)}
    requests.delete(
        f"{cloud.services.image}/v2/images/{ids['ramdisk']}",
        headers={"X-Auth-Token": cloud.services.token},
        timeout=20,
    ).raise_for_status()
    words = ("image-prepare", "baremetal", "list", "--orphans")
    rows = {r["Name"]: r for r in cloud.json(*words)}
    assert rows[cloud.name]["Problems"] == ["there is no ramdisk"]
