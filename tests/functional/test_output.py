"""Commands whose output nobody takes."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import pty
import re
import shlex
import subprocess
import sys

import pyte
import pytest

from tests.functional import base, deployment

COMMAND = (
    "openstack image-prepare default --enable-registry-login"
    " --output-env-file out.yaml"
)
FULL = (
    "standard output: cannot be written: no space left on device; all else"
    " is done\n"
)
# Before version 3 of cmd2, no openstack command starts without this output.
_CMD2 = int(importlib.metadata.version("cmd2").partition(".")[0])
CLOSED = [">&-"] if _CMD2 >= 3 else []


def shell(openstack: base.OpenStack, line: str) -> tuple[int, str, str]:
    """Status, standard output and errors of a line for bash."""
    programs = pathlib.Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", f"PATH={shlex.quote(str(programs))}:$PATH; {line}"],
        env=openstack.environment,
        cwd=openstack.home,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *((f"{COMMAND} {closed}", (0, "", "")) for closed in CLOSED),
        (f"{COMMAND} >/dev/full", (1, "", FULL)),
        # As of other programs that a pipe ends: 128 + SIGPIPE.
        (f"{COMMAND} | true; exit ${{PIPESTATUS[0]}}", (141, "", "")),
    ],
    ids=[*("closed" for _ in CLOSED), "full", "pipe"],
)
def test_files_are_written_whoever_listens(
    openstack: base.OpenStack, line: str, expected: tuple[int, str, str]
) -> None:
    """The file is there, and there is one line about what is lost."""
    status, stdout, stderr = shell(openstack, line)
    told = "".join(re.split("(?:note|out.yaml): [^\n]*\n", stderr))
    assert (status, stdout, told) == expected
    text = (openstack.home / "out.yaml").read_text()
    assert "ContainerImageRegistryLogin: true" in text


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_result_is_there_whoever_listens(
    openstack: base.OpenStack, redirection: str
) -> None:
    """Messages may be lost, but the result is not."""
    (openstack.home / "tree/v2").mkdir(parents=True)
    line = "openstack image-prepare verify --image-serve tree -f value -c Name"
    _, stdout, _ = shell(openstack, f"{line} {redirection}")
    assert stdout == "v2/_catalog\nv2/index.json\n"


@pytest.mark.parametrize(
    ("redirection", "expected"),
    [
        *((closed, (0, "", "")) for closed in CLOSED),
        (">/dev/full", (1, "", FULL)),
    ],
)
def test_tables(
    openstack: base.OpenStack, redirection: str, expected: tuple[int, str, str]
) -> None:
    """So it is for commands whose result is a table."""
    (openstack.home / "tree/v2").mkdir(parents=True)
    line = "openstack image-prepare image list --image-serve tree"
    assert shell(openstack, f"{line} {redirection}") == expected


def test_help_keeps_its_paragraphs(openstack: base.OpenStack) -> None:
    """Each paragraph of a description ends with a full stop and a line."""
    text = openstack.help("image-prepare", "run")
    assert "write the parameters.\n\nReads Container" in text


def test_one_line_of_progress_on_a_terminal(openstack: base.OpenStack) -> None:
    """A slow run in a narrow terminal shows one line, and clears it."""
    columns = 60
    with deployment.deployed(openstack) as site:
        site.registry.fail("GET", "/blobs/sha256:", delay=1.5, times=6)
        words = site.words("--image-serve", "tree")
        program = pathlib.Path(sys.executable).with_name("openstack")
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(openstack.home)
            os.execve(  # noqa: S606 # a terminal of its own is needed
                program,
                ["openstack", *words],
                {
                    **openstack.environment,
                    "TERM": "xterm",
                    "COLUMNS": str(columns),
                    "LINES": "24",
                },
            )
        screen = pyte.Screen(columns, 24)
        stream = pyte.ByteStream(screen)
        most = 0
        while True:
            try:
                stream.feed(os.read(terminal, 65536))
            except OSError:
                break
            lines = [line for line in screen.display if " images" in line]
            if not any("+--" in line for line in screen.display):
                most = max(most, len(lines))
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert most == 1
    text = "\n".join(screen.display)
    assert "3 images: 3 copied" in text
    assert "blobs" not in text
