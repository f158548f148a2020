"""Runs commands as users do: through the real ``OpenStackShell``."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import io
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest
import stevedore
from cliff import commandmanager
from openstack.config import loader
from openstackclient import shell

#: What is kept of the caller's environment; above all no ``OS_*``.
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")
# Python before 3.13 repeats the value of an option after each of its names.
_REPEATED = re.compile(r"(-\w) (<[^>]+>|[A-Z_]+), (--\S+ \2)")
# What a command did, at the end of stderr.
_SUMMARY = re.compile(r"[^\n]* in (\d+ min )?[\d.]+ s(;[^\n]*)?\Z")
_SECTION = re.compile(r"\n(?=\S[^\n]*:\n)")
#: Finds the commands of a group; the same ones in each shell of a process.
_STEVEDORE = types.SimpleNamespace(
    ExtensionManager=functools.cache(stevedore.ExtensionManager)
)


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> str:
        """The last line of stderr, if it tells what was done."""
        match = _SUMMARY.search(self.stderr.strip())
        return match[0] if match else ""

    @property
    def messages(self) -> str:
        """The rest of stderr."""
        return self.stderr.strip().removesuffix(self.summary).strip()


class OpenStack:
    """The ``openstack`` command in a home of its own.

    :param environment: variables that it has beside the usual ones.
    """

    def __init__(self, home: pathlib.Path, **environment: str) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.environment = {
            **{key: os.environ[key] for key in _KEPT if key in os.environ},
            "HOME": str(home),
            # stevedore keeps what is installed there, unless Python is in
            # /tmp; the home is to hold what the commands write, no more.
            "XDG_CACHE_HOME": str(home.with_name(f"{home.name}.cache")),
            # That of root would be a directory of the machine.
            "XDG_STATE_HOME": str(home.with_name(f"{home.name}.state")),
            "COLUMNS": "80",
            "LINES": "1000",
            "NO_COLOR": "1",
            "PAGER": "cat",
            **environment,
        }

    def __call__(
        self, *words: str, status: int | Collection[int] = 0, stderr: str = ""
    ) -> Result:
        """Run in this process, with the exit status and messages expected.

        :param status: more than one where the order of threads decides.
        :param stderr: a regular expression for all of stderr, or for all
            but the summary; by default no more may be there.
        """
        result = self._run(words)
        _check(result, status, stderr)
        return result

    def json(self, *words: str, **expected: Any) -> Any:
        """The output of the command as JSON; see `__call__`."""
        return json.loads(self(*words, "-f", "json", **expected).stdout)

    def installed(
        self,
        *words: str,
        status: int = 0,
        stderr: str = "",
        through: Sequence[str] = (),
    ) -> Result:
        """The same through the installed program, in a process of its own.

        :param through: the program that starts it, with its words.
        """
        program = pathlib.Path(sys.executable).with_name("openstack")
        done = subprocess.run(
            [*through, program, *words],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        _check(result, status, stderr)
        return result

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The installed program, for who does not wait for its end."""
        return subprocess.Popen(
            [pathlib.Path(sys.executable).with_name("openstack"), *words],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def help(self, *words: str) -> str:
        """The help text of a command."""
        return self(*words, "--help").stdout

    def _run(self, words: tuple[str, ...]) -> Result:
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.home),
            _environ(self.environment),
            pytest.MonkeyPatch.context() as patch,
            _own_logging(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            # By default it is the name of the program that runs the tests.
            patch.setattr(shell.OpenStackShell, "NAME", "openstack")
            patch.setattr(commandmanager, "stevedore", _STEVEDORE)
            # openstacksdk looks in the directory that was the current one at
            # its import.
            patch.setattr(
                loader, "CONFIG_FILES", [str(self.home / "clouds.yaml")]
            )
            patch.setattr(loader, "SECURE_FILES", [])
            # It looks at each object.
            patch.setattr(gc, "get_freeze_count", lambda: 1)
            try:
                status = shell.OpenStackShell().run(list(words))
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 0
        return Result(status, stdout.getvalue(), stderr.getvalue())


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        """Pretend to be a terminal."""
        return True


def own_help(text: str) -> str:
    """A help text without the options of cliff's own that choose a format."""
    sections = _SECTION.split(text)
    ours = [
        part
        for part in sections
        if "formatter" not in part.partition("\n")[0].lower()
    ]
    if len(ours) < len(sections):
        # The usage line has them, too.
        ours[0] = ours[0].partition("\n\n")[2]
    return "\n".join(ours).rstrip("\n") + "\n"


def normal_help(text: str) -> str:
    """A help text without line breaks, and the same with every Python."""
    return " ".join(_REPEATED.sub(r"\1, \3", text).split())


def normal_environment(text: str) -> str:
    """An environment file as if it had been made at another time."""
    return re.sub(r"(?m)^(# Generated on )\S+", r"\1TIME", text)


def _check(result: Result, status: int | Collection[int], stderr: str) -> None:
    told = (result.stderr.strip(), result.messages)
    if not any(re.fullmatch(stderr, text, re.DOTALL) for text in told):
        pytest.fail(f"stderr is not {stderr!r}:\n{result.stderr}")
    expected = {status} if isinstance(status, int) else set(status)
    assert result.status in expected, result


@contextlib.contextmanager
def _environ(environment: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for key in list(os.environ):
            if key not in environment:
                patch.delenv(key)
        for key, value in environment.items():
            patch.setenv(key, value)
        yield


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """The shell adds a handler at each start and changes levels."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = handlers
        root.setLevel(level)
