"""An overcloud travels: from docker-registry to Apache, and elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.serving import apache as printed
from imageprep_client.stores.imageserve import ImageServeTree
from tests import apache, programs, sampling, servers
from tests.http_client import ask
from tests.integration import overcloud, whole
from tests.integration.overcloud import TAG, Program
from tests.integration.whole import ACCEPT
from tests.servers import DockerRegistry

IMAGES = overcloud.make()
#: Where all would take long.
FEW = IMAGES.images[::3]
SOME = ("ns/openstack-keystone", "ns/openstack-nova-api")
VIRTUAL_HOSTS = {
    "undercloud": apache.undercloud_virtual_host,
    "printed": printed.virtual_host,
}
BLOB_GET = r"^GET \S+/blobs/sha256:"


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DockerRegistry]:
    """A docker-registry that has the overcloud."""
    directory = tmp_path_factory.mktemp("source")
    with servers.docker_registry(directory, access_log=True) as registry:
        overcloud.fill(registry, IMAGES.images)
        yield registry


@pytest.fixture
def program(tmp_path: Path, source: DockerRegistry) -> Program:
    """The program, told to copy the overcloud."""
    found = Program(tmp_path)
    found.configure(source.host)
    return found


class Copied:
    """A tree that the overcloud was copied to.

    :ivar report: of the run.
    :ivar gets: the blobs that it asked the source for.
    """

    def __init__(self, home: Path, tree: Path, source: DockerRegistry) -> None:
        self.tree = tree
        before = len(source.requests(BLOB_GET))
        program = Program(home)
        program.configure(source.host)
        self.report = program.run("--image-serve", str(tree))
        self.gets = source.requests(BLOB_GET)[before:]


@pytest.fixture(scope="module")
def copied(
    source: DockerRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copied]:
    """The overcloud in a tree."""
    with apache.readable_directory() as directory:
        home = tmp_path_factory.mktemp("home")
        yield Copied(home, directory / "tree", source)


@pytest.fixture(params=VIRTUAL_HOSTS)
def served(request: pytest.FixtureRequest, copied: Copied) -> Iterator[str]:
    """URL of the tree behind Apache."""
    virtual_host = VIRTUAL_HOSTS[request.param]
    with apache.running(virtual_host, copied.tree, hostile=False) as url:
        yield url


def broken(url: str) -> list[str]:
    """The faults of the images of a tree, as a client sees them."""
    _, wrong = whole.served(url, FEW, TAG, read=0)
    return wrong


# --- into a tree


def test_all_are_copied(copied: Copied) -> None:
    """86 images are copied, and each byte travels once."""
    totals = copied.report["totals"]
    assert totals["outcomes"] == {"copied": overcloud.COUNT}
    assert totals["copied"] == IMAGES.unique_bytes
    assert totals["copied"] + totals["mounted"] == IMAGES.naive_bytes


def test_each_blob_is_asked_for_once(copied: Copied) -> None:
    """The source's own log has one GET for each different blob."""
    asked = [re.findall(r"sha256:\w+", get)[0] for get in copied.gets]
    assert sorted(asked) == sorted(IMAGES.blobs)


def test_every_image_by_tag(served: str) -> None:
    """Each tag answers with the bytes that the source has."""
    for image in IMAGES.images:
        path = f"/v2/{image.repository}/manifests/{TAG}"
        answer = ask(served, path, ACCEPT)
        digest = image.descriptor.digest
        assert digests.of(answer.body) == digest
        assert answer.headers["Docker-Content-Digest"] == digest
    assert not broken(served)


@pytest.mark.parametrize("by_digest", [False, True])
def test_skopeo_pulls(served: str, by_digest: bool, tmp_path: Path) -> None:
    """skopeo pulls images whole, and their digest is the source's."""
    host = served.removeprefix("http://")
    for image in IMAGES.images:
        if image.repository not in SOME:
            continue
        digest = image.descriptor.digest
        name = f"@{digest}" if by_digest else f":{TAG}"
        target = tmp_path / image.repository.replace("/", "-")
        programs.run(
            *("skopeo", "copy", "--insecure-policy"),
            *("--src-tls-verify=false", "--preserve-digests"),
            *(f"docker://{host}/{image.repository}{name}", f"dir:{target}"),
        )
        assert digests.of((target / "manifest.json").read_bytes()) == digest


def test_second_run(
    copied: Copied, source: DockerRegistry, program: Program
) -> None:
    """A second run moves nothing and asks for nothing but the tags."""
    before = len(source.requests(""))
    report = program.run("--image-serve", str(copied.tree))

    assert report["totals"]["outcomes"] == {"present": overcloud.COUNT}
    assert report["totals"]["copied"] == 0
    asked = source.requests("")[before:]
    assert not [line for line in asked if re.search(BLOB_GET, line)]
    assert len([line for line in asked if line.startswith("HEAD")]) == 86


# --- from registry to registry


@pytest.fixture
def other(tmp_path: Path) -> Iterator[DockerRegistry]:
    """An empty docker-registry."""
    directory = tmp_path / "other"
    with servers.docker_registry(directory, access_log=True) as registry:
        yield registry


def test_registry_to_registry(
    source: DockerRegistry, other: DockerRegistry, program: Program
) -> None:
    """Blobs are sent once and mounted where else they are needed."""
    program.configure(source.host, other.host)
    report = program.run()

    totals = report["totals"]
    assert totals["outcomes"] == {"copied": overcloud.COUNT}
    assert totals["mounted"] == IMAGES.naive_bytes - IMAGES.unique_bytes
    assert len(other.requests(r"^PUT \S+/blobs/uploads/")) == len(IMAGES.blobs)
    for image in IMAGES.images:
        path = f"/v2/{image.repository}/manifests/{TAG}"
        answer = ask(f"http://{other.host}", path, ACCEPT)
        assert digests.of(answer.body) == image.descriptor.digest


# --- guarded registries


@pytest.mark.parametrize("tls", [False, True])
def test_password(tmp_path: Path, tls: bool) -> None:
    """Credentials and certificates of the parameters and options serve."""
    with servers.docker_registry(
        tmp_path / "registry", tls=tls, user="operator", password="canary-1"
    ) as registry:
        overcloud.fill(registry, IMAGES.images[:3])
        program = Program(tmp_path)
        program.configure(
            registry.host,
            parameters={
                "ContainerImageRegistryCredentials": {
                    registry.host: {"operator": "canary-1"}
                }
            },
            includes=[f"/{i.repository}:" for i in IMAGES.images[:3]],
        )
        words = ["--image-serve", "tree"]
        if tls:
            words += ["--cacert", str(registry.ca)]
        report = program.run(*words)

    assert report["totals"]["outcomes"] == {"copied": 3}


def test_certificate_of_another_authority(tmp_path: Path) -> None:
    """A registry that cannot be verified is an error that says what to do."""
    (tmp_path / "another").mkdir()
    wrong = servers.make_certificate(tmp_path / "another")
    with servers.docker_registry(tmp_path / "registry", tls=True) as registry:
        program = Program(tmp_path)
        program.configure(registry.host)
        stderr = program.fail("--image-serve", "tree", "--cacert", str(wrong))

    error, hint = stderr.splitlines()
    assert registry.host in error
    assert "certificate" in error
    assert hint.startswith("hint: ")
    assert "--cacert" in hint
    assert "--insecure-registry" in hint


# --- runs that are interrupted, and runs at once


def wait_for_blobs(
    tree: Path, count: int, process: subprocess.Popen[str]
) -> None:
    """Return when the tree has so many blobs, or the run has ended."""
    while process.poll() is None:
        if sum(1 for _ in tree.glob("v2/ns/*/blobs/*")) >= count:
            return
        # There is nothing to wait on: the run tells nobody.
        time.sleep(0.01)


def begun(program: Program, tree: Path, blobs: int) -> subprocess.Popen[str]:
    """A run into the tree that stands still when it has some of the blobs.

    On a busy host it may be over before that is seen, or have no more to do
    than to end: then it begins anew.
    """
    while True:
        process = program.start("--image-serve", str(tree))
        wait_for_blobs(tree, blobs, process)
        process.send_signal(signal.SIGSTOP)
        if process.returncode is None:
            stopped = os.WSTOPPED | os.WEXITED | os.WNOWAIT
            os.waitid(os.P_PID, process.pid, stopped)
            if ImageServeTree(tree).lock_owner():
                return process
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        shutil.rmtree(tree)


@pytest.mark.parametrize(
    ("number", "blobs"),
    sampling.some(
        [
            (signal.SIGINT, 10),
            (signal.SIGKILL, 1),
            (signal.SIGTERM, 60),
            (signal.SIGKILL, 150),
        ],
        3,
    ),
)
def test_stopped(
    source: DockerRegistry, program: Program, number: int, blobs: int
) -> None:
    """After a stopped run Apache serves whole images; the next run ends."""
    with apache.readable_directory() as directory:
        tree = directory / "tree"
        includes = [f"/{image.repository}:" for image in FEW]
        program.configure(source.host, includes=includes)
        process = begun(program, tree, blobs)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=100)
        assert process.returncode in (-number, 128 + number), stderr
        assert "Traceback" not in stderr

        with apache.running(
            apache.undercloud_virtual_host, tree, hostile=False
        ) as url:
            assert not broken(url)
            report = program.run("--image-serve", str(tree))
            outcomes = report["totals"]["outcomes"]
            assert sum(outcomes.values()) == len(FEW)
            assert set(outcomes) <= {"copied", "present"}
            assert not broken(url)
        assert not list((tree / ".incoming").glob("*"))


def test_two_at_once(program: Program, tmp_path: Path) -> None:
    """The second run into a tree waits for the first, and says so."""
    tree = tmp_path / "tree"
    first = begun(program, tree, 1)
    second = program.start("--image-serve", str(tree))
    assert second.stderr
    for line in second.stderr:
        if line.startswith("waiting: "):
            break
    first.send_signal(signal.SIGCONT)
    said = [process.communicate(timeout=100) for process in (first, second)]

    assert line == (f"waiting: another run has {tree} (process {first.pid})\n")
    assert [first.returncode, second.returncode] == [0, 0], said
    rows: list[dict[str, Any]] = json.loads(said[1][0])
    assert {row["Outcome"] for row in rows} == {"present"}
