"""The command on a terminal of 80 columns, as people see it: in tmux."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.testing import content, images
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests import inventory_nodes, programs
from tests.functional import base

PROGRAM = Path(sys.executable).with_name("openstack")
LINE = re.compile(r"(\S*\s+)?blobs \d/1 images .*")
SECONDS = 120


class Terminal:
    """A terminal of 80 columns and 24 lines with a shell."""

    def __init__(self, openstack: base.OpenStack) -> None:
        self._openstack = openstack
        # The path of a socket is short.
        self._server = f"imageprep-{openstack.home.parent.name}"
        self._tmux(
            *("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"),
            "env PS1= sh",
        )

    def _tmux(self, *words: str) -> str:
        return programs.run(
            "tmux",
            "-L",
            self._server,
            *words,
            cwd=self._openstack.home,
            env={**self._openstack.environment, "LC_ALL": "C.UTF-8"},
        )

    def type(self, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def lines(self) -> list[str]:
        """The lines that have anything."""
        screen = self._tmux("capture-pane", "-p")
        return [line for line in screen.splitlines() if line.strip()]

    def until(self, pattern: re.Pattern[str]) -> list[str]:
        """The screen once a line on it matches."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            lines = self.lines()
            if any(pattern.fullmatch(line.strip()) for line in lines):
                return lines
            time.sleep(0.1)
        raise AssertionError(self.lines())

    def close(self) -> None:
        """End the shell and what it runs."""
        self._tmux("kill-server")


@pytest.fixture
def terminal(openstack: base.OpenStack) -> Iterator[Terminal]:
    """A terminal with a shell in the home of the test."""
    openstack.environment.pop("COLUMNS")
    openstack.environment.pop("LINES")
    shown = Terminal(openstack)
    yield shown
    shown.close()


def test_slow_copy(openstack: base.OpenStack, terminal: Terminal) -> None:
    """A slow copy shows one clean line of progress, which goes at the end.

    The lines of ``-v`` are above it.
    """
    with RegistryServer() as source:
        image = content.image("api", [content.blob("api", 200_000)])
        put(source.content.store("ns/api"), image, "1")
        source.fail("GET", "/blobs/", times=None, drip=0.02)
        words = [str(PROGRAM), "-v", "image-prepare", "push"]
        words += [f"{source.host}/ns/api:1", "--registry-url", "oci:layout"]
        words += ["-f", "value", "-c", "Outcome"]
        terminal.type(f"clear; {shlex.join(words)}; echo status $?")
        during = terminal.until(re.compile(".*blobs 0/1 images  .* of .*"))
        after = terminal.until(re.compile("status 0"))

    drawn = [line for line in during if "0/1" in line]
    assert len(drawn) == 1
    assert during[-1] == drawn[0]
    assert LINE.fullmatch(drawn[0].strip())
    assert not any("/1 images  " in line for line in after)
    assert "copied" in [line.strip() for line in after]


def test_nodes_that_pull(
    openstack: base.OpenStack, terminal: Terminal, tmp_path: Path
) -> None:
    """A preload shows the nodes that pull in a table, which goes at the end;
    each node that is done is a line.
    """
    found = images.overcloud({"ns/api": ("1",)}, unique_bytes=1000)
    groups = {"compute": ["node-with-a-long-name.example.com"]}
    gate = tmp_path / "gate"
    with (
        RegistryServer() as source,
        inventory_nodes.nodes(tmp_path / "nodes", groups) as nodes,
    ):
        images.write(found.images, source.content.store)
        nodes.once(
            groups["compute"][0], f"while [ ! -e {gate} ]; do sleep 0.1; done"
        )
        (openstack.home / "list").write_text(f"{source.host}/ns/api:1\n")
        words = [str(PROGRAM), "image-prepare", "preload", "run"]
        words += ["--inventory", str(nodes.inventory)]
        words += ["--images", "compute=list", "-f", "value", "-c", "State"]
        terminal.type(f"clear; {shlex.join(words)}; echo status $?")
        during = terminal.until(re.compile(r"node-with\S* +0 of 1 .*"))
        gate.touch()
        after = terminal.until(re.compile("status 0"))

    table = re.compile(r"Host +Images +To Pull|node-with.* 0 of 1 +\S+ \S+")
    assert [bool(table.fullmatch(line)) for line in during[-3:]] == [
        *(True, True, False)
    ]
    assert "nodes 0/1 nodes" in during[-1]
    assert all(len(line) < 80 for line in during)
    assert not any(table.fullmatch(line) for line in after)
    text = "".join(after)
    assert f"{groups['compute'][0]}: done, 1 of 1 images" in text
