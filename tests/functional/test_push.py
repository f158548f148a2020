"""``openstack image-prepare push`` and ``tag discover``."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from imageprep_client.client import stores as opening
from imageprep_client.host import undercloud
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from imageprep_client.testing.gate import Basic
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.functional import base
from tests.functional.deployment import PLAIN

CANARY = "canary-d27a/+&%"
PUSH = ("image-prepare", "push")
DISCOVER = ("image-prepare", "tag", "discover")
TREE = ("--image-serve", "tree")
NAME = "ns/keystone"
LABELS = {"version": "17.1.3", "release": "9", "wrong": "no-such-tag"}
IMAGE = content.image("keystone", labels=LABELS)


def fill(server: RegistryServer) -> None:
    """Put the image there under three tags."""
    put(server.content.store(NAME), IMAGE, "17.1", "17.1.3", "17.1.3-9")


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    """A registry with an image."""
    with RegistryServer() as server:
        fill(server)
        yield server


def push(openstack: base.OpenStack, *words: str) -> dict[str, Any]:
    """The row of a push."""
    (row,) = openstack.json(*PUSH, *words, stderr=PLAIN)
    assert isinstance(row, dict)
    return row


def test_push_to_a_tree(
    openstack: base.OpenStack, source: RegistryServer
) -> None:
    """The image is in the tree; the row says what became of it."""
    name = f"{source.host}/{NAME}:17.1"
    row = push(openstack, name, *TREE)
    path = openstack.home / "tree"
    assert row == {
        "Image": name,
        "Source": name,
        "Destination": f"image-serve:{path}//{NAME}:17.1",
        "Digest": IMAGE.descriptor.digest,
        "Outcome": "copied",
        "Bytes": sum(p.descriptor.size for p in IMAGE.parts),
    }
    store = ImageServeTree(path).store(NAME)
    assert store.holds(store.resolve("17.1"))
    assert push(openstack, name, *TREE)["Outcome"] == "present"


def test_push_to_the_undercloud(
    openstack: base.OpenStack,
    source: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default the destination is the undercloud's tree."""
    (openstack.home / "served").mkdir()
    monkeypatch.setattr(opening, "TREE", str(openstack.home / "served"))
    monkeypatch.setattr(undercloud, "registry", lambda: "localhost:8787")
    row = push(openstack, f"{source.host}/{NAME}:17.1")
    assert row["Destination"] == f"localhost:8787/{NAME}:17.1"
    store = ImageServeTree(openstack.home / "served").store(NAME)
    assert store.resolve("17.1") == IMAGE.descriptor


def test_push_to_a_registry(
    openstack: base.OpenStack, source: RegistryServer
) -> None:
    """The predecessor's words are understood, and the tag is longer."""
    with RegistryServer() as other:
        row = push(
            openstack,
            *("--registry-url", f"docker://{other.host}"),
            *("--append-tag=-new", "--multi-arch", "--cleanup"),
            f"docker://{source.host}/{NAME}:17.1",
        )
        assert row["Destination"] == f"{other.host}/{NAME}:17.1-new"
        store = other.content.store(NAME)
        assert store.resolve("17.1-new") == IMAGE.descriptor


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (403, "\nhint: no credentials .*"),
        (404, "\nhint: this may be no registry, .*"),
        (405, "\nhint: the registry may be read-only, .*"),
    ],
)
def test_refused(
    openstack: base.OpenStack, source: RegistryServer, status: int, hint: str
) -> None:
    """A registry that takes nothing was not changed."""
    with RegistryServer() as other:
        other.fail("POST", status=status, times=None)
        openstack(
            *("image-prepare", "push", "--registry-url", other.host),
            f"{source.host}/{NAME}:17.1",
            status=2,
            stderr=rf".* {status}\){hint}",
        )
        assert not other.requests("PUT", "")


def test_missing_image(
    openstack: base.OpenStack, source: RegistryServer
) -> None:
    """An image that is not there is one line, exit 2."""
    openstack(
        *PUSH,
        f"{source.host}/{NAME}:none",
        *TREE,
        status=2,
        stderr=PLAIN + f"{source.host}/{NAME}:none: [^\n]*unknown[^\n]*"
        r"\nhint: no similar tag; some that exist: [^\n]*",
    )


def test_local_image_without_buildah(openstack: base.OpenStack) -> None:
    """Where buildah is not installed, one line says so; exit 2."""
    openstack.environment["PATH"] = str(openstack.home)
    openstack(
        *PUSH,
        "containers-storage:localhost/x:1",
        *TREE,
        status=2,
        stderr="buildah: no such program\nhint: install the package buildah",
    )


@pytest.mark.parametrize(
    ("file", "before"), [(True, ("-vv",)), (False, ("--debug",))]
)
def test_passwords(
    openstack: base.OpenStack, file: bool, before: tuple[str, ...]
) -> None:
    """Each registry gets its own password, and no log gets any."""
    with (
        RegistryServer(gate=Basic("here", CANARY)) as source,
        RegistryServer(gate=Basic("there", f"{CANARY}2")) as other,
    ):
        fill(source)
        (openstack.home / "one").write_text(f"{CANARY}\n")
        (openstack.home / "two").write_text(f"{CANARY}2\n")
        logins = (
            ("--source-password-file", "one", "--password-file", "two")
            if file
            else ("--source-password", CANARY, "--password", f"{CANARY}2")
        )
        done = openstack(
            *before,
            *("--log-file", "shell.log"),
            *PUSH,
            *("--registry-url", other.host, f"{source.host}/{NAME}:17.1"),
            *("--source-username", "here", "--username", "there"),
            *logins,
            stderr=".*",
        )
        assert other.content.store(NAME).resolve("17.1") == IMAGE.descriptor
    log = (openstack.home / "shell.log").read_text()
    pairs = [f"here:{CANARY}", f"there:{CANARY}2"]
    secrets = [base64.b64encode(p.encode()).decode() for p in pairs]
    for text in (done.stdout, done.stderr, log):
        for secret in (CANARY, *secrets):
            assert secret not in text


# --- tag discover


@pytest.mark.parametrize(
    ("label", "tag"),
    [("version", "17.1.3"), ("{version}-{release}", "17.1.3-9")],
)
def test_discover(
    openstack: base.OpenStack, source: RegistryServer, label: str, tag: str
) -> None:
    """The tag is all that is printed."""
    name = f"{source.host}/{NAME}:17.1"
    words = ("--image", name, "--tag-from-label", label)
    assert openstack(*DISCOVER, *words, stderr=PLAIN).stdout == f"{tag}\n"


def test_discover_as_json(
    openstack: base.OpenStack, source: RegistryServer
) -> None:
    """Other formats are there for programs."""
    name = f"{source.host}/{NAME}:17.1"
    words = ("--image", name, "--tag-from-label", "version")
    assert openstack.json(*DISCOVER, *words, stderr=PLAIN) == {"Tag": "17.1.3"}


def test_discover_in_a_tree(
    openstack: base.OpenStack, source: RegistryServer
) -> None:
    """A tree is read in place of its web server."""
    for tag in ("17.1", "17.1.3"):
        push(openstack, f"{source.host}/{NAME}:{tag}", *TREE)
    name = f"uc.example.com:8787/{NAME}:17.1"
    words = ("--image", name, "--tag-from-label", "version", *TREE)
    assert openstack(*DISCOVER, *words).stdout == "17.1.3\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no label was named; its labels: release, version, wrong"),
        (
            ("--tag-from-label", "x"),
            "no label x; its labels: release, version, wrong"
            "\nhint: [^\n]*--tag[^\n]*",
        ),
        (("--tag-from-label", "wrong"), "label wrong gives tag no-such[^\n]*"),
    ],
)
def test_discover_fails(
    openstack: base.OpenStack,
    source: RegistryServer,
    words: tuple[str, ...],
    message: str,
) -> None:
    """Where no tag comes out, the labels that there are are told."""
    name = f"{source.host}/{NAME}:17.1"
    openstack(
        *DISCOVER,
        "--image",
        name,
        *words,
        status=2,
        stderr=PLAIN + f"{name}: {message}(\nhint: [^\n]*)?",
    )
