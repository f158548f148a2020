"""Running programs: real ones, that behave and that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.programs.process import Program


class _Error(errors.ImagePrepError):
    """The error of a test's program."""


@pytest.fixture
def shell() -> Program:
    """The shell, as a program with hints."""
    return Program(
        "sh",
        {"ADDED": "yes"},
        error=_Error,
        hints=[("no room", "make room"), ("room", "look for room")],
    )


def test_output(shell: Program) -> None:
    """A command gives what it prints, with the variables and the input."""
    told = shell.run("-c", 'cat; echo "$ADDED"', stdin=b"x" * 300_000)
    assert told == "x" * 300_000 + "yes\n"


def test_nothing_to_read(shell: Program) -> None:
    """Without an input there is none."""
    assert shell.run("-c", "cat") == ""


def test_input_that_nobody_reads(shell: Program) -> None:
    """A program may end without reading its input."""
    assert shell.run("-c", "echo done", stdin=b"x" * 300_000) == "done\n"


def test_failure(shell: Program) -> None:
    """The error has the last messages, the remedy, and no password."""
    with pytest.raises(_Error) as raised:
        shell.run(
            "-c",
            "echo one >&2;"
            " echo 'Error: no room at https://me:you@host/' >&2; exit 3",
        )
    assert str(raised.value) == "sh -c: one; no room at https://me:***@host/"
    assert raised.value.hint == "make room"


def test_attempt(shell: Program) -> None:
    """The caller may judge a failure."""
    finished = shell.attempt("-c", "echo a; echo b >&2; exit 3")
    assert (finished.status, finished.stdout, finished.stderr) == (
        *(3, "a\n"),
        "b\n",
    )


def test_no_program() -> None:
    """A missing program is named, with its package."""
    missing = Program("no-such-program", package="some-package")
    with pytest.raises(errors.StoreError, match="no such program") as raised:
        missing.run("x")
    assert "some-package" in str(raised.value.hint)


def test_json(shell: Program) -> None:
    """JSON becomes values; anything else is one error."""
    assert shell.json("-c", "echo '[1]'") == [1]
    for text in ("echo", "echo x", "head -c 300000 /dev/zero | tr '\\0' ["):
        with pytest.raises(_Error, match=r"^sh -c: not JSON"):
            shell.json("-c", text)


def test_endless_output(shell: Program) -> None:
    """A program that prints more than it may is ended."""
    with pytest.raises(_Error, match="sh -c: prints more than 1000 bytes"):
        shell.run("-c", "exec cat /dev/zero", limit=1000)


def test_endless_complaints(shell: Program) -> None:
    """Of the messages only the end is kept."""
    script = "head -c 5000000 /dev/zero >&2; echo end >&2"
    stderr = shell.attempt("-c", script).stderr
    assert stderr.endswith("end\n")
    assert len(stderr) == 1 << 20


def test_timeout(shell: Program) -> None:
    """A program that takes too long is ended, with what it started."""
    begun = time.monotonic()
    with pytest.raises(_Error, match=r"not done after 0\.2 seconds"):
        shell.run("-c", "trap '' TERM; sleep 300; sleep 300", timeout=0.2)
    assert time.monotonic() - begun < 60


def test_output_left_open(shell: Program, tmp_path: Path) -> None:
    """A process that a program leaves behind is not waited for."""
    begun = time.monotonic()
    script = (
        f"echo told; setsid sh -c 'echo $$ >{tmp_path}/id; exec sleep 300' &"
        f" until [ -s {tmp_path}/id ]; do sleep 0.01; done"
    )
    assert shell.run("-c", script) == "told\n"
    assert time.monotonic() - begun < 60
    os.kill(int((tmp_path / "id").read_text()), 9)


def test_interrupt_of_a_start(
    shell: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program is ended though the interrupt comes while it is started."""
    started = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        shell.run("-c", "exec sleep 1000")
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_stream(shell: Program) -> None:
    """Lines are told as they come, and are bounded."""
    lines: list[str] = []
    finished = shell.stream(
        "-c",
        "printf 'a\\r\\n\\nb'; head -c 200000 /dev/zero; echo; printf c;"
        " echo d >&2",
        on_line=lines.append,
    )
    assert (finished.stdout, finished.stderr) == ("", "d\n")
    assert [line[:1] for line in lines] == ["a", "", "b", "c"]
    assert lines[0] == "a"
    assert max(map(len, lines)) == 1 << 16


def test_reader_that_gives_up(shell: Program) -> None:
    """An exception of the reader of lines ends the program."""

    def read(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError):
        shell.stream("-c", "echo; exec sleep 300", on_line=read)


def test_stop(shell: Program) -> None:
    """Another thread can end all; only what removes something still runs."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            shell.run("-c", "exec sleep 300")
        except _Error as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not shell._running:
        time.sleep(0.01)
    shell.stop()
    thread.join(60)
    assert [str(error) for error in failures] == ["sh -c: stopped"]
    with pytest.raises(_Error, match="stopped"):
        shell.run("-c", "true")
    assert shell.run("-c", "echo gone", last=True) == "gone\n"


@pytest.mark.parametrize("begin", ["", "exec >&- 2>&-; "])
def test_watch(shell: Program, begin: str) -> None:
    """An error of the watch ends the program, with its output open or not."""
    calls = []

    def watch() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            raise errors.NoSpace("full", needed=2, free=1)

    with pytest.raises(errors.NoSpace, match="full"):
        shell.attempt("-c", f"{begin}while :; do sleep 0.1; done", watch=watch)
    assert len(calls) == 3
