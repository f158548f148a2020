"""How commands fail, and what heads their files."""

from __future__ import annotations

import argparse
import errno
import functools
import io
import logging
import os
import signal
import threading
import types
from collections.abc import Callable
from typing import cast

import pytest
from osc_lib import shell

from imageprep_client import errors
from imageprep_client.cli import base


class _Example(base.Command):
    """A command that does what the test says."""

    action: Callable[[], None]

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.action()


def _app(interactive: bool = False) -> shell.OpenStackShell:
    app = types.SimpleNamespace(
        interactive_mode=interactive,
        command_options=["a", "b c"],
        stdout=io.StringIO(),
        stderr=io.StringIO(),
        options=types.SimpleNamespace(),
    )
    return cast(shell.OpenStackShell, app)


def run(action: Callable[[_Example], None], **options: str) -> int:
    """The exit status of a command with this action."""
    command = _Example(_app(), None)
    command.action = functools.partial(action, command)
    return command.run(argparse.Namespace(**options))


def _raise(error: BaseException) -> Callable[[_Example], None]:
    def action(_: _Example) -> None:
        raise error

    return action


def _messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


def test_success() -> None:
    """An action that returns nothing is status 0."""
    assert run(lambda _: None) == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.InputError("x"),
        errors.NotFound("x"),
        errors.PlanError("x"),
        errors.DiscoveryError("x"),
        errors.CopyError("fetch", "source", "x", errors.NotFound("y")),
    ],
)
def test_nothing_done(error: errors.ImagePrepError) -> None:
    """Any error but a partial failure is status 2."""
    assert run(_raise(error)) == 2


def test_out_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Memory that runs out is told in one line."""
    assert run(_raise(MemoryError())) == 1
    (message,) = _messages(caplog)
    assert message.startswith("out of memory")


def test_error_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Message and hint are a line each, whatever a name has in it."""
    run(_raise(errors.InvalidFile("a\nb", "bad", hint="look\there")))

    assert _messages(caplog) == [r"a\nb: bad", r"hint: look\there"]


def test_error_of_permissions(caplog: pytest.LogCaptureFixture) -> None:
    """A path that another user owns is named, with the remedy."""
    run(_raise(PermissionError(errno.EACCES, "Permission denied", "/root/x")))

    assert _messages(caplog) == [
        "/root/x: permission denied",
        "hint: run it as root",
    ]


def test_partial_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Status 1; each failure has its line, each hint comes once."""
    failures = [
        errors.NotFound("one: gone", hint="push it"),
        errors.NotFound("two: gone", hint="push it"),
        errors.StoreError("three: broken"),
    ]

    assert run(_raise(errors.PartialFailure("3 failed", failures))) == 1
    assert _messages(caplog) == [
        "3 failed",
        "  one: gone",
        "  two: gone",
        "  three: broken",
        "hint: push it",
    ]


def test_failure_with_a_result() -> None:
    """An action that has a result may still say that a part failed."""

    def action(command: _Example) -> None:
        command.failure = errors.PartialFailure("1 failed", [])

    assert run(action) == 1


def test_bugs_pass() -> None:
    """Exceptions that are none of ours are the shell's."""
    with pytest.raises(ValueError, match="bug"):
        run(_raise(ValueError("bug")))


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_signals_stop_a_command(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C, SIGTERM and a lost terminal end it in one line."""
    before = signal.getsignal(number)
    assert run(lambda _: os.kill(os.getpid(), number)) == 128 + number
    assert _messages(caplog) == [
        "stopped; what was not finished is not visible"
    ]
    assert signal.getsignal(number) is before


def test_nohup_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose SIGHUP is ignored goes on without its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda _: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_commands_run_in_threads() -> None:
    """Where signals cannot be caught, a command runs without."""
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(run(lambda _: None))
    )
    thread.start()
    thread.join()
    assert statuses == [0]


def test_needs_no_cloud() -> None:
    """The shell reads it before arguments are parsed."""
    assert not base.Command.auth_required
    assert not base.Lister.auth_required


def test_header_of_a_command_line() -> None:
    """The words of the command line, quoted for a shell."""
    assert _Example(_app(), None).header()[1] == "openstack a 'b c'"


def test_header_of_an_interactive_command() -> None:
    """There the command line is that of the shell, not of the command."""
    command = _Example(_app(interactive=True), None)
    command.cmd_name = "image-prepare default"

    assert command.header()[1] == "openstack image-prepare default"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--password", "x y"], "--password ***"),
        (["--password=x"], "--password=***"),
        (["--source-password", "x", "y"], "--source-password *** y"),
        (["--os-passw", "x"], "--os-passw ***"),
        (["--os-token", "x"], "--os-token ***"),
        (["--os-to", "x"], "--os-to ***"),
        (["--os-code", "x"], "--os-code ***"),
        (["--os-cloud", "x"], "--os-cloud x"),
        (["--os-auth-secret=x"], "--os-auth-secret=***"),
        (["--password-file", "f"], "--password-file f"),
        (["--tag-from-label", "l"], "--tag-from-label l"),
        (["https://me:x@host/p"], "'https://me:***@host/p'"),
        (["http://h/a.tar?X-Signature=x&b=c"], "'http://h/a.tar?***'"),
        (["--url=https://me:a:b@h:1/p"], "'--url=https://me:***@h:1/p'"),
        (["docker://host:5000/ns/i:t"], "docker://host:5000/ns/i:t"),
        (["it's\n\\"], r"$'it\x27s\x0a\x5c'"),
        (["\udcff"], r"$'\xff'"),
        (["--password"], "--password"),
    ],
)
def test_command_line(words: list[str], shown: str) -> None:
    """Secrets are masked; no word breaks out of its line."""
    assert base.command_line(words) == shown
