"""Images that somebody made to do harm."""

from __future__ import annotations

import functools
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import hostile_disks, programs
from tests.functional import base

_MANY = r"""
import sys
from pathlib import Path
from imageprep_client import errors
from imageprep_client.client import baremetal
from tests import hostile_disks

for number, path in enumerate(sys.argv[1:]):
    request = baremetal.ExtractRequest(
        image=path, output_directory=f"{path}.out"
    )
    try:
        baremetal.extract(request)
    except errors.InvalidFile as error:
        print(error)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the image of a name, once."""

    @functools.cache
    def make(name: str) -> Path:
        return hostile_disks.make(name, tmp_path_factory.mktemp("images"))

    return make


def _processor() -> float:
    """Seconds that this process and its children have used."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(one)[:2]) for one in who)


@pytest.mark.parametrize("name", hostile_disks.MAKERS)
def test_refused(
    name: str, images: Callable[[str], Path], tmp_path: Path
) -> None:
    """One line, status 2, within seconds of a processor; nothing is
    written.
    """
    path = images(name)
    openstack = base.OpenStack(tmp_path)
    before = _processor()
    done = openstack(
        *("image-prepare", "baremetal", "extract", str(path)),
        *("--output-dir", "out"),
        status=2,
        stderr=".*",
    )
    assert _processor() - before < 20
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{path}: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert not list((tmp_path / "out").glob("*"))


def test_nothing_else_is_opened(
    images: Callable[[str], Path], tmp_path: Path
) -> None:
    """No program gets an image before it is inspected, or without its
    format; no file outside is opened.
    """
    paths = {name: images(name) for name in hostile_disks.MAKERS}
    log = tmp_path / "strace"
    told = programs.run(
        *("strace", "-f", "-qq", "-s", "1000", "-o", str(log)),
        *("-e", "trace=open,openat,execve"),
        *(sys.executable, "-c", _MANY, *map(str, paths.values())),
        cwd=Path(__file__).parents[2],
    )
    assert len(told.splitlines()) == len(paths)
    text = log.read_text()
    opened = re.findall(r'open(?:at)?\([^"]*"([^"]*)"', text)
    assert not [p for p in opened if hostile_disks.SECRET in p]
    assert not [p for p in opened if "shadow" in p]
    assert [p for p in opened if p == str(paths["backing file"])]
    started = re.findall(r'execve\("[^"]*/qemu-img", \[([^]]*)\]', text)
    assert started
    assert all(r"\"driver\"" in s or '"-f", "qcow2"' in s for s in started)
    # Headers alone condemn these: no program saw them.
    for name in ("backing file", "data file", "VMDK descriptor", "8 EiB"):
        after = text.partition(f'"{paths[name]}"')[2]
        begin = after.partition(f'"{paths[name]}.out')[0]
        assert "qemu-img" not in begin.partition('/image"')[0]
