"""Runs under a policy, and archives, that die at any moment.

How many are killed is in IMAGEPREP_KILLS, 20 at most. The number of each is
its seed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.base import ReadableStore
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import images
from tests import sampling, servers, signing
from tests.integration import overcloud
from tests.integration.overcloud import TAG, UNDERCLOUD, Program
from tests.servers import DockerRegistry
from tests.torture import test_kills as kills

NUMBERS = kills.KILLS[:20]
_NAMES = [name.removeprefix("h/") for name in overcloud.names()[:8]]
IMAGES = images.overcloud(
    {name: [TAG] for name in _NAMES}, unique_bytes=24_000_000
).images
#: Signed with a key that the policy does not have.
REFUSED = IMAGES[0]
_PATIENCE = 60.0


@dataclasses.dataclass(frozen=True)
class Site:
    """A source of signed images, and a policy for them.

    :ivar policy: the options of a run that obeys it.
    :ivar seconds: of a run, from its first request on.
    :ivar archive: what an archive of the images has.
    :ivar carrying: seconds of making it.
    :ivar copied: the bytes that were copied for it.
    """

    source: DockerRegistry
    policy: tuple[str, ...]
    seconds: float
    archive: dict[str, str]
    carrying: float
    copied: int


def attach(source: DockerRegistry) -> bytes:
    """Sign all images; gives the key that all but one are signed with."""
    key, second = signing.KINDS["ecdsa"](), signing.KINDS["ecdsa"]()
    with RegistryClient() as registries:
        for image in IMAGES:
            signing.attach(
                registries.store(source.host, image.repository),
                second if image is REFUSED else key,
                f"{source.host}/{image.repository}:{TAG}",
                image.descriptor.digest,
            )
    return signing.public_bytes(key)


def program(
    home: Path, source: DockerRegistry, destination: str = UNDERCLOUD
) -> Program:
    """The program, told to copy the images."""
    signing.use_attachments(home)
    found = Program(home)
    found.configure(
        source.host,
        destination,
        includes=[f"/{name.partition('/')[2]}:" for name in _NAMES],
    )
    return found


def killed(process: subprocess.Popen[str], number: int, within: float) -> int:
    """The exit status of a run that is killed at some point, or ends."""
    moments = random.Random(number)  # noqa: S311 - no secret
    try:
        process.wait(moments.uniform(0, within))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=_PATIENCE)
    return process.returncode


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of what is in a tar."""
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            assert stream
            yield member.name, stream.read()


def contents(path: Path) -> dict[str, str]:
    """The digests of what is in an archive, whatever its order.

    Its list of checksums is in the order of the members, which threads
    decide; it has to have all of them.
    """
    found = dict(members(path))
    lines = found.pop("SHA256SUMS").decode().splitlines()
    sums = {
        name: hashlib.sha256(data).hexdigest() for name, data in found.items()
    }
    assert dict(line.split("  ")[::-1] for line in lines) == sums
    return sums


def carried(path: Path) -> set[str]:
    """The digests of the blobs that are whole in what a killed run left."""
    found = set()
    # It may end anywhere.
    with contextlib.suppress(tarfile.ReadError):
        for name, data in members(path):
            digest = hashlib.sha256(data).hexdigest()
            if name.endswith(f"/{digest}"):
                found.add(f"sha256:{digest}")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A docker-registry with the images; runs of which are timed."""
    directory = tmp_path_factory.mktemp("source")
    with servers.docker_registry(directory, access_log=True) as source:
        overcloud.fill(source, IMAGES)
        home = tmp_path_factory.mktemp("home")
        (home / "key.pub").write_bytes(attach(source))
        requirement = signing.sigstore(home / "key.pub")
        policy = home / "policy.json"
        policy.write_text(json.dumps({"default": [requirement]}))
        words = ("--signature-policy", str(policy), "--keep-going")
        run = program(home, source)
        seconds = []
        for status, more in (
            (1, (*words, "--image-serve", "tree")),
            (0, ("--carry", "carried.tar", "--report", "report.json")),
        ):
            process = kills.start(run, source, *more)
            began = time.monotonic()
            _, stderr = process.communicate(timeout=_PATIENCE)
            assert process.returncode == status, stderr
            seconds.append(time.monotonic() - began)
        archive = contents(home / "carried.tar")
        report = json.loads((home / "report.json").read_text())
        copied = report["totals"]["copied"]
        yield Site(source, words, seconds[0], archive, seconds[1], copied)


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where the images go.

    :ivar words: the options of a run that name it.
    :ivar store: opens a repository.
    """

    run: Program
    words: tuple[str, ...]
    store: Callable[[str], ReadableStore]


@pytest.fixture(params=sampling.some(["registry", "tree"], 2))
def destination(
    request: pytest.FixtureRequest, site: Site, tmp_path: Path
) -> Iterator[Destination]:
    """A tree, or a registry that keeps what it was sent."""
    if request.param == "tree":
        tree = ImageServeTree(tmp_path / "tree")
        words = ("--image-serve", "tree")
        yield Destination(program(tmp_path, site.source), words, tree.store)
        return
    with (
        servers.docker_registry(tmp_path / "other") as other,
        RegistryClient() as client,
    ):
        run = program(tmp_path, site.source, other.host)
        store = functools.partial(client.store, other.host)
        yield Destination(run, (), store)


def tagged(destination: Destination) -> set[str]:
    """The repositories whose tag is at a destination."""
    found = set()
    for image in IMAGES:
        try:
            destination.store(image.repository).resolve(TAG)
        except errors.NotFound:
            continue
        found.add(image.repository)
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_refused(
    number: int, site: Site, destination: Destination, tmp_path: Path
) -> None:
    """A run that is killed leaves no tag that names a refused image."""
    words = (*site.policy, *destination.words)
    process = kills.start(destination.run, site.source, *words)
    assert killed(process, number, site.seconds) in (1, -signal.SIGKILL)
    assert REFUSED.repository not in tagged(destination)

    # 2 when the killed run had brought all others.
    stderr = destination.run.fail(*words, status=(1, 2))

    assert "not made by an accepted key" in stderr
    others = {image.repository for image in IMAGES} - {REFUSED.repository}
    assert tagged(destination) == others
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_carry(number: int, site: Site, tmp_path: Path) -> None:
    """The run after a killed one goes on, and makes the same archive."""
    run, path = program(tmp_path, site.source), tmp_path / "carried.tar"
    partial = path.with_name("carried.tar.partial")
    words = ("--carry", "carried.tar")
    process = kills.start(run, site.source, *words)
    assert killed(process, number, site.carrying) in (0, -signal.SIGKILL)
    brought = carried(partial) if partial.exists() else set()
    sizes = {
        blob.descriptor.digest: blob.descriptor.size
        for image in IMAGES
        for blob in image.blobs
    }
    kept = sum(sizes.get(digest, 0) for digest in brought)

    copied = run.run(*words)["totals"]["copied"]

    assert contents(path) == site.archive
    assert not partial.exists()
    # The log of the registry tells of the killed run's requests too late.
    assert copied <= site.copied - kept
