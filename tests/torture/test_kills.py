"""Runs that die at any moment: nobody sees it, and the next one ends.

How many are killed, per kind of destination, is in IMAGEPREP_KILLS: one by
default, a hundred under ``tox -e torture``. The number of each is its seed.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.serving import apache as printed
from imageprep_client.testing import images
from tests import apache, sampling, servers
from tests.integration import overcloud, whole
from tests.integration.overcloud import TAG, UNDERCLOUD, Program
from tests.servers import DockerRegistry

KILLS = range(int(os.environ.get("IMAGEPREP_KILLS", "1")))
_NAMES = [name.removeprefix("h/") for name in overcloud.names()[:24]]
#: Small blobs, and some that take a while: they are cut in the middle.
IMAGES = (
    *images.overcloud(
        {name: [TAG] for name in _NAMES[2:]}, unique_bytes=16_000_000
    ).images,
    *(
        images.random_image(name, repository=name, tags=[TAG], size=24_000_000)
        for name in _NAMES[:2]
    ),
)
_INCLUDES = [f"/{name.partition('/')[2]}:" for name in _NAMES]
_BLOB_GET = r"^GET \S+/blobs/(sha256:\w+)"
_PATIENCE = 60.0
#: What a run may take to stop, with what a busy machine adds to a second.
_A_SECOND = 1.5 if sampling.ALL else 10.0


@dataclasses.dataclass(frozen=True)
class Site:
    """Where the images come from.

    :ivar seconds: of a whole run, from its first request on.
    """

    source: DockerRegistry
    seconds: float

    def asked(self) -> list[str]:
        """The blobs that were asked for so far."""
        found = self.source.requests(_BLOB_GET)
        return [re.findall(r"sha256:\w+", line)[0] for line in found]


def program(
    home: Path, source: DockerRegistry, destination: str = UNDERCLOUD
) -> Program:
    """The program, told to copy the images."""
    found = Program(home)
    found.configure(source.host, destination, includes=_INCLUDES)
    return found


def wait_for_request(
    source: DockerRegistry, process: subprocess.Popen[str], before: int
) -> None:
    """Return when a run asks for its first image; fail when it ends first."""
    log = source.directory / "log"
    end = time.monotonic() + _PATIENCE
    while log.stat().st_size == before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        # There is nothing to wait on: the registry tells nobody.
        time.sleep(0.002)


def start(
    program: Program, source: DockerRegistry, *words: str
) -> subprocess.Popen[str]:
    """Start a run, and return when its work begins."""
    before = (source.directory / "log").stat().st_size
    process = program.start("--output-env-file", "out.yaml", *words)
    wait_for_request(source, process, before)
    return process


def die(
    process: subprocess.Popen[str], number: int, site: Site, kind: int
) -> float:
    """End a run at some point of its work; gives how long that took."""
    source = random.Random(number)  # noqa: S311 - no secret
    moment = source.uniform(0, site.seconds)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(kind)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=_PATIENCE)
    took = time.monotonic() - began
    assert process.returncode in (0, -kind, 128 + kind), stderr
    assert "Traceback" not in stderr
    return took


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A docker-registry with the images; a run of which is timed."""
    directory = tmp_path_factory.mktemp("source")
    with servers.docker_registry(directory, access_log=True) as source:
        overcloud.fill(source, IMAGES)
        home = tmp_path_factory.mktemp("home")
        process = start(
            program(home, source), source, "--image-serve", str(home / "tree")
        )
        began = time.monotonic()
        _, stderr = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 0, stderr
        yield Site(source, time.monotonic() - began)


@pytest.fixture
def tree() -> Iterator[Path]:
    """Where a tree can be that Apache serves."""
    with apache.readable_directory() as directory:
        yield directory / "tree"


def check_tree(tree: Path, urls: list[str]) -> set[str]:
    """All that is tagged is whole; gives the repositories."""
    found = []
    for url in urls:
        tagged, wrong = whole.served(url, IMAGES, TAG, read=3)
        assert not wrong
        found.append(tagged)
    assert found[0] == found[1]
    assert not whole.in_tree(tree, IMAGES, TAG)
    return found[0]


@pytest.mark.parametrize("number", KILLS)
def test_tree(number: int, site: Site, tree: Path, tmp_path: Path) -> None:
    """A killed run leaves a tree right; the next takes up what it brought."""
    words = ("--image-serve", str(tree))
    run = program(tmp_path, site.source)
    with (
        apache.running(
            apache.undercloud_virtual_host, tree, hostile=False
        ) as one,
        apache.running(printed.virtual_host, tree, hostile=False) as other,
    ):
        process = start(run, site.source, *words)
        die(process, number, site, signal.SIGKILL)
        tagged = check_tree(tree, [one, other])
        if (tmp_path / "out.yaml").exists():
            assert len(tagged) == len(IMAGES)
        brought, before = whole.blobs(tree), len(site.asked())

        outcomes = run.run(*words)["totals"]["outcomes"]

        assert sum(outcomes.values()) == len(IMAGES)
        assert set(outcomes) <= {"copied", "present"}
        tagged = check_tree(tree, [one, other])
        assert len(tagged) == len(IMAGES)
    assert not set(site.asked()[before:]) & brought
    assert not list((tree / ".incoming").iterdir())


@pytest.mark.parametrize("number", KILLS)
def test_registry(number: int, site: Site, tmp_path: Path) -> None:
    """A killed run leaves a registry right; the next one ends."""
    with servers.docker_registry(tmp_path / "other") as other:
        run = program(tmp_path, site.source, other.host)
        url = f"http://{other.host}"
        process = start(run, site.source)
        die(process, number, site, signal.SIGKILL)
        tagged, wrong = whole.served(url, IMAGES, TAG)
        assert not wrong
        if (tmp_path / "out.yaml").exists():
            assert len(tagged) == len(IMAGES)

        outcomes = run.run()["totals"]["outcomes"]

        assert sum(outcomes.values()) == len(IMAGES)
        assert set(outcomes) <= {"copied", "present"}
        tagged, wrong = whole.served(url, IMAGES, TAG)
        assert not wrong
        assert len(tagged) == len(IMAGES)


@pytest.mark.parametrize(
    "kind", sampling.some([signal.SIGINT, signal.SIGTERM], 2)
)
@pytest.mark.parametrize("number", KILLS[: max(1, len(KILLS) // 4)])
def test_stopped(
    number: int, kind: int, site: Site, tree: Path, tmp_path: Path
) -> None:
    """A run that is told to stop does so in a second, and cleanly."""
    run = program(tmp_path, site.source)
    process = start(run, site.source, "--image-serve", str(tree))

    assert die(process, number, site, kind) < _A_SECOND

    assert not whole.in_tree(tree, IMAGES, TAG)
    left = [path.name for path in (tree / ".incoming").glob("*")]
    assert [name for name in left if not name.endswith(".part")] == []
