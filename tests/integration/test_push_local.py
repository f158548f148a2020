"""``openstack image-prepare push --local``, with buildah and real places."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.stores.imageserve import ImageServeTree
from tests import sampling, servers
from tests.functional import base
from tests.local_storage import LocalStorage
from tests.servers import DockerRegistry

PUSH = ("image-prepare", "push")
NAME = "localhost/ns/nova:1"
#: What the log says besides errors.
ANY = "(?s).*"
_BUILDAH = """#!/bin/sh
if [ "$1" = push ]; then
    echo $$ >{started}
    exec sleep 1000
fi
exec {buildah} "$@"
"""


@pytest.fixture
def openstack(
    openstack: base.OpenStack, local_storage: LocalStorage
) -> base.OpenStack:
    """The command; `NAME` is an image in local storage."""
    local_storage.build(
        NAME, {"/motd": b"hello"}, base=local_storage.base(), user="nova"
    )
    return openstack


def push(openstack: base.OpenStack, *words: str) -> dict[str, Any]:
    """The row of a push."""
    (row,) = openstack.json(*PUSH, *words, stderr=ANY)
    assert isinstance(row, dict)
    return row


def test_to_a_registry_and_back(
    openstack: base.OpenStack,
    local_storage: LocalStorage,
    registry: DockerRegistry,
) -> None:
    """A pulled copy is the image that was built, ID and content."""
    buildah = local_storage.buildah
    built = buildah.image(NAME)
    assert built is not None
    row = push(openstack, "--local", NAME, "--registry-url", registry.host)
    assert row["Source"] == f"containers-storage:{NAME}"
    assert row["Destination"] == f"{registry.host}/ns/nova:1"
    assert row["Outcome"] == "copied"
    assert row["Bytes"] > 0
    again = push(openstack, "--local", NAME, "--registry-url", registry.host)
    assert (again["Outcome"], again["Digest"]) == ("present", row["Digest"])
    buildah.run("rmi", "--all", "--force")
    name = f"{registry.host}/ns/nova:1"
    buildah.run("pull", "--quiet", "--tls-verify=false", name)
    pulled = buildah.image(name)
    assert pulled is not None
    assert (pulled.id, pulled.diff_ids) == (built.id, built.diff_ids)
    assert pulled.digest == row["Digest"]
    assert local_storage.told(name, "cat", "/motd") == "hello"


def test_changes_to_a_pulled_image(
    openstack: base.OpenStack,
    local_storage: LocalStorage,
    registry: DockerRegistry,
) -> None:
    """Only the new layer and the config travel, of an image that came from
    the same repository.
    """
    name = f"{registry.host}/ns/nova:1"
    push(openstack, "--local", NAME, "--registry-url", registry.host)
    buildah = local_storage.buildah
    buildah.run("rmi", "--all", "--force")
    buildah.run("pull", "--quiet", "--tls-verify=false", name)
    local_storage.build(f"{name}-fix", {"/fix": b"x"}, base=name)
    row = push(
        openstack, "--local", f"{name}-fix", "--registry-url", registry.host
    )
    assert row["Destination"] == f"{name}-fix"
    assert 0 < row["Bytes"] < 5000


def test_to_a_tree(
    openstack: base.OpenStack, local_storage: LocalStorage
) -> None:
    """A short name is completed, and the copy is whole."""
    row = push(
        openstack,
        *("containers-storage:ns/nova:1", "--append-tag=-x"),
        *("--image-serve", "tree", "--cleanup"),
    )
    path = openstack.home / "tree"
    assert row["Destination"] == f"image-serve:{path}//ns/nova:1-x"
    store = ImageServeTree(path).store("ns/nova")
    assert store.holds(store.resolve("1-x"))
    assert NAME not in local_storage.names()


def test_dry_run(
    openstack: base.OpenStack, local_storage: LocalStorage
) -> None:
    """A dry run tells the bytes, and neither copies nor cleans up."""
    words = ("--local", NAME, "--image-serve", "tree", "--cleanup")
    row = push(openstack, *words, "--dry-run")
    assert row["Outcome"] == "planned"
    assert not (openstack.home / "tree").exists()
    assert NAME in local_storage.names()
    assert push(openstack, *words)["Bytes"] == row["Bytes"]


def test_no_such_image(openstack: base.OpenStack) -> None:
    """Similar names are told, and the exit status is 2."""
    openstack(
        *PUSH,
        *("--local", "nova:2", "--image-serve", "tree"),
        status=2,
        stderr="containers-storage:nova:2: no such image in local storage\n"
        f"hint: there is {NAME}",
    )
    assert not (openstack.home / "tree").exists()


def test_copy_that_fails(
    openstack: base.OpenStack, local_storage: LocalStorage, tmp_path: Path
) -> None:
    """Without a copy there is no cleaning up."""
    with servers.docker_registry(
        tmp_path / "guarded", user="me", password="Zz9Secret"
    ) as guarded:
        openstack(
            *PUSH,
            *("--local", NAME, "--cleanup", "--registry-url", guarded.host),
            status=2,
            stderr=ANY,
        )
    assert NAME in local_storage.names()


def test_no_room(
    openstack: base.OpenStack, local_storage: LocalStorage
) -> None:
    """A disk that is full is told, and nothing stays on it."""
    words = ("--local", NAME, "--image-serve", "tree")
    limit = "ulimit -f 100; exec openstack image-prepare push"
    programs = Path(sys.executable).parent
    path = f"{programs}:{openstack.environment['PATH']}"
    done = subprocess.run(
        ["sh", "-c", f'{limit} "$@"', "-", *words],
        env={**openstack.environment, "PATH": path},
        cwd=openstack.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "file too large" in done.stderr
    assert not local_storage.leftovers()
    assert not list(local_storage.temporary.iterdir())


def test_name_in_use(
    openstack: base.OpenStack, local_storage: LocalStorage
) -> None:
    """An image that a container uses cannot go; the copy is there: exit 1."""
    with local_storage.buildah.container(NAME):
        openstack(
            *PUSH,
            *("--local", NAME, "--image-serve", "tree", "--cleanup"),
            status=1,
            stderr=f"(?s).*{NAME}: copied, but its local name is still"
            " there.*in use by a container.*",
        )
    assert ImageServeTree(openstack.home / "tree").store("ns/nova").tags()


@pytest.mark.parametrize(
    "number", sampling.some([signal.SIGTERM, signal.SIGINT], 2)
)
def test_interrupt(
    openstack: base.OpenStack,
    local_storage: LocalStorage,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """A command that compresses a layer ends with its program."""
    started = tmp_path / "started"
    program = tmp_path / "bin" / "buildah"
    program.parent.mkdir()
    real = subprocess.check_output(["which", "buildah"], text=True).strip()
    program.write_text(_BUILDAH.format(started=started, buildah=real))
    program.chmod(0o755)
    path = f"{program.parent}:{openstack.environment['PATH']}"
    command = Path(sys.executable).with_name("openstack")
    with subprocess.Popen(
        [command, *PUSH, "--local", NAME, "--image-serve", "tree"],
        env={**openstack.environment, "PATH": path},
        cwd=openstack.home,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not started.exists() or not started.read_text().strip():
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(number)
            assert process.wait(timeout=120) == 128 + number
        finally:
            process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    assert not local_storage.leftovers()
