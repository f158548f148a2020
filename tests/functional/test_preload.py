"""The ``preload`` commands: help, reports and what is refused."""

from __future__ import annotations

import json

import pytest

from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.functional import base

PRELOAD = ("image-prepare", "preload")
_ROW = {
    "registry": "site:5000",
    "images": 3,
    "in_place": 3,
    "missing": 1024,
    "free": 4096,
    "seconds": 2.5,
    "failures": {},
    "error": "",
}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), r"no images: [^\n]*"),
        (("--images", "list.txt"), r"--images 'list.txt': expected [^\n]*"),
        (("--images", "a=none"), r"none: no such file"),
        (("--images", "a=empty"), r"empty: names no image"),
        (("--images", "a=bad"), r"bad[^\n]*line 2[^\n]*"),
        (
            ("--images", "a=list", "--images", "a=list"),
            r"--images a: given tw",
        ),
        (
            ("--images", "a=list", "--site", "a=oci:/x"),
            r"--site a: oci:/x is ",
        ),
        (("--images", "a=list", "--site", "a=x/y:1"), r"--site a: invalid "),
        (("--images", "b=list"), r"--images or --group: [^\n]* no group 'b'"),
        (
            ("--images", "a=list", "--hosts", "z"),
            r"hosts: no host matches 'z'",
        ),
    ],
)
def test_refused(
    openstack: base.OpenStack, words: tuple[str, ...], told: str
) -> None:
    """Bad input is one line and status 2, before any host is reached."""
    home = openstack.home
    (home / "hosts").write_text("[a]\nh1 ansible_connection=local\n")
    (home / "list").write_text("example.com/ns/a:1  # the first\n\n")
    (home / "bad").write_text("example.com/ns/a:1\nexample.com/UPPER\n")
    (home / "empty").write_text("# nothing\n")
    openstack(
        *PRELOAD,
        *("run", "--inventory", "hosts", *words),
        status=2,
        stderr=rf"{told}[\s\S]*",
    )


def test_inventory_first(openstack: base.OpenStack) -> None:
    """An inventory that is not there is told before a registry is asked."""
    with RegistryServer() as registry:
        (openstack.home / "env.yaml").write_text(
            "parameter_defaults:\n  ContainerImagePrepare:\n  - set:\n"
            f"      namespace: {registry.host}/ns\n"
        )
        openstack(
            *(*PRELOAD, "plan", "--inventory", "none", "-e", "env.yaml"),
            status=2,
            stderr="none: no such inventory",
        )
        assert not registry.log


def test_plan_and_a_busy_registry(openstack: base.OpenStack) -> None:
    """A registry that wants fewer requests is asked again."""
    home = openstack.home
    with RegistryServer() as registry:
        put(registry.content.store("ns/nova"), content.image("nova"), "1")
        registry.fail("", "/manifests/", status=429)
        (home / "list").write_text(f"{registry.host}/ns/nova:1\n")
        (home / "hosts").write_text("[a]\nh1 ansible_connection=local\n")
        (row,) = openstack.json(
            *(*PRELOAD, "plan", "--inventory", "hosts", "--images", "a=list"),
            stderr=r"[\s\S]*",
        )
    assert row["Host"] == "h1"


def test_images_that_are_refused(openstack: base.OpenStack) -> None:
    """Images that cannot be used are counted as images, not as nodes."""
    home = openstack.home
    with RegistryServer() as registry:
        names = ["ns/nova", "ns/heat"]
        for name in names:
            put(registry.content.store(name), content.image(name), "1")
        text = "".join(f"{registry.host}/{name}:1\n" for name in names)
        (home / "list").write_text(text)
        (home / "hosts").write_text("[a]\nh1 ansible_connection=local\n")
        (home / "policy.json").write_text('{"default": [{"type": "reject"}]}')
        openstack(
            *(*PRELOAD, "plan", "--inventory", "hosts", "--images", "a=list"),
            *("--signature-policy", "policy.json"),
            status=2,
            stderr=rf"[^\n]*\n  2 images: {registry.host}/ns/(nova|heat):1 "
            rf"[^\n]*rejects every image[^\n]*; also {registry.host}/ns/"
            r"(nova|heat):1\nhint: [^\n]* policy show IMAGE",
        )


def test_status(openstack: base.OpenStack) -> None:
    """A report is shown node by node, and stays; a failed node is status 1.
    Nodes that fail for one reason are one line.
    """
    row = {"host": "h1", "state": "done", **_ROW}
    failed = {
        **row,
        "host": "h2",
        "state": "unreachable",
        "error": "no route to host",
    }
    document = {
        "version": 1,
        "dry_run": False,
        "nodes": [row],
        "sites": [],
        "source_bytes": 1,
        "seconds": 1.0,
    }
    path = openstack.home / "report.json"
    path.write_text(json.dumps(document))
    status = (*PRELOAD, "status", "report.json", "-f", "json")
    shown = json.loads(openstack(*status).stdout)
    assert [row["Host"] for row in shown] == ["h1"]
    assert (shown[0]["Free"], shown[0]["Seconds"]) == (4096, 2.5)
    path.write_text(json.dumps({**document, "nodes": [row, failed]}))
    told = r"1 of 2 nodes failed\s+h2: no route to host\s*"
    openstack(*status, status=1, stderr=told)
    assert json.loads(path.read_text())["nodes"] == [row, failed]
    nodes = [{**failed, "host": host} for host in ("h2", "h3")]
    path.write_text(json.dumps({**document, "nodes": nodes}))
    told = r"2 of 2 nodes failed\s+2 nodes: h2: no route to host; also h3\s*"
    openstack(*status, status=1, stderr=told)


_TEXT = '{"host": "a", "registry": "", "state": "done", "images": %s}'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it is no JSON"),
        ("[]", "its parts are not of the expected types"),
        ("{}", "it has no 'version'"),
        ('{"version": 2}', "version 2"),
        ('{"version": 1, "nodes": 1}', "its parts are not of"),
        ('{"version": 1, "nodes": [%s]}' % (_TEXT % '"b"'), "its parts are"),
        ('{"version": 1, "nodes": [%s]}' % (_TEXT % 1), "it has no 'sites'"),
    ],
)
def test_no_report(openstack: base.OpenStack, content: str, told: str) -> None:
    """A file that is no report is refused in plain words."""
    (openstack.home / "report.json").write_text(content)
    openstack(
        *PRELOAD,
        *("status", "report.json"),
        status=2,
        stderr=rf"report\.json: no report of preload: {told}[^\n]*\s*",
    )
