"""What all commands share: how they fail, and what heads their files."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import io
import os
import re
import shlex
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from osc_lib.command import command

from imageprep_client import errors, plugin
from imageprep_client.cli import given, log

if TYPE_CHECKING:
    from imageprep_client.client.images import Row

_COPIES = ("Image", "Source", "Destination", "Digest", "Outcome", "Bytes")
_PROVIDED = "This command is provided by the imageprep-client plugin."
# The password of a URL, https://user:password@host/.
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]*@")


class Command(command.Command):
    """A command that needs no cloud and tells errors in plain words.

    Exit status: 0 all done, 1 some images failed, 2 nothing done. Messages
    go to the log and so to stderr, at every verbosity; the traceback is
    there with ``--debug`` only.
    """

    auth_required = False

    #: Set by an action that has a result to show although a part failed.
    failure: errors.PartialFailure | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        given.watch(parser)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        # The modules that were imported stay: looking for garbage in them
        # takes, with the last look of all, a tenth of a second.
        if not gc.get_freeze_count():
            gc.freeze()
        with contextlib.ExitStack() as stack:
            stack.enter_context(log.made_printable())
            try:
                stack.enter_context(log.to_file(self.log_file(parsed_args)))
                with _terminable(), self._output():
                    given.check(parsed_args)
                    status = super().run(parsed_args)
            except errors.ImagePrepError as error:
                if self.failure:
                    self._report(self.failure)
                return self._report(error)
            except MemoryError:
                self.log.error(
                    "out of memory; what was not finished is not visible"
                )
                return 1
            except KeyboardInterrupt as error:
                self.log.error("stopped; what was not finished is not visible")
                return 128 + getattr(error, "signal", signal.SIGINT)
            return self._report(self.failure) if self.failure else status

    def log_file(self, parsed_args: argparse.Namespace) -> str | None:
        """The file that a log of the command goes to.

        :raises InvalidArgument: when its name is empty.
        """
        # See `plugin.build_option_parser`.
        path = getattr(parsed_args, "log_file", None) or getattr(
            self.app.options, "image_prepare_log_file", None
        )
        if path == "":
            raise given.empty("--log-file")
        return path

    def get_epilog(self) -> str:
        """What ends the help, as cliff has it.

        cliff reads the metadata of all installed packages, at every command,
        to find out which of them this one is from: a tenth of a second.
        """
        added = (hook.obj.get_epilog() for hook in self._hooks if hook.obj)
        return "\n\n".join(filter(None, [self._epilog, *added, _PROVIDED]))

    def header(self) -> list[str]:
        """When and by which command line a file was made.

        For the comments at the top of what is written; passwords masked.
        """
        now = datetime.datetime.now(datetime.UTC)
        if self.app.interactive_mode:
            words: Sequence[str] = str(self.cmd_name).split()
        else:
            words = self.app.command_options
        return [
            f"Generated on {now.isoformat(timespec='seconds')} by:",
            f"openstack {command_line(words)}",
        ]

    def tell(self, line: str) -> None:
        """Say something that is no data, where somebody listens."""
        if self.app.stderr is not None:
            with contextlib.suppress(OSError):
                self.app.stderr.write(f"{line}\n")
                self.app.stderr.flush()

    def write(self, text: str) -> None:
        """Print data."""
        with self.writing():
            self.app.stdout.write(text)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Print in the block; who reads no more is cliff's business.

        :raises PartialFailure: when what was done cannot be shown.
        """
        try:
            yield
            self.app.stdout.flush()
        except BrokenPipeError:
            self._abandon()
            raise
        except OSError as error:
            self._abandon()
            reason = (error.strerror or str(error)).lower()
            raise errors.PartialFailure(
                f"standard output: cannot be written: {reason}; all else is"
                " done",
                [],
            ) from error

    def _abandon(self) -> None:
        """Keep Python from trying once more at its end, which would fail."""
        with contextlib.suppress(io.UnsupportedOperation):
            stream = self.app.stdout.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        """Let who closed standard output have what is not for him lost.

        As with Python's own ``print``; there is no stream then.
        """
        if self.app.stdout is not None:
            yield
            return
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            # cliff asks both how wide a table may be.
            contextlib.redirect_stdout(nowhere),
        ):
            self.app.stdout = nowhere
            try:
                yield
            finally:
                self.app.stdout = None

    def _report(self, error: errors.ImagePrepError) -> int:
        """Tell the error, and what may help; the exit status."""
        self.log.debug("the command failed", exc_info=error)
        self.log.error("%s", errors.printable(error))
        self._show_log(error)
        status = 2
        hints = [error.hint]
        if isinstance(error, errors.PartialFailure):
            status = 1
            for failure in error.failures:
                self.log.error("  %s", errors.printable(failure))
                self._show_log(failure)
            hints.extend(failure.hint for failure in error.failures)
        # Many images may fail for one reason.
        for hint in dict.fromkeys(filter(None, hints)):
            self.log.error("hint: %s", errors.printable(hint))
        return status

    def _show_log(self, error: errors.ImagePrepError) -> None:
        """What a program said that could not change an image."""
        if isinstance(error, errors.ModifyError):
            for line in error.log:
                self.log.error("    | %s", errors.printable(line))


class _Terminated(KeyboardInterrupt):
    """Somebody else than the user wants the command to end.

    :ivar signal: how that was said.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, and a terminal that goes away, end a command as cleanly
    as Ctrl-C does.
    """

    def terminate(number: int, _: object) -> None:
        raise _Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, terminate)
        for number in (signal.SIGTERM, signal.SIGHUP)
        # Under nohup it is to go on.
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Lister(Command, command.Lister):
    """A `Command` whose result is a table."""

    def produce_output(self, *result: Any) -> int:
        with self.writing():
            return super().produce_output(*result)


class ShowOne(Command, command.ShowOne):
    """A `Command` whose result is one object."""

    def produce_output(self, *result: Any) -> int:
        with self.writing():
            return super().produce_output(*result)


def copies(
    rows: Iterable[Row],
) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    """The table of what became of images that were to be copied."""
    return _COPIES, (
        (
            row.image,
            row.source,
            row.destination,
            row.digest,
            row.outcome,
            row.copied,
        )
        for row in rows
    )


def command_line(words: Sequence[str]) -> str:
    """The words as one line for a shell, the values of secrets masked."""
    shown = []
    secret = False
    for word in words:
        name, equals, _ = word.partition("=")
        if secret:
            shown.append(plugin.MASK)
            secret = False
        elif plugin.is_secret(name):
            secret = not equals
            shown.append(f"{name}={plugin.MASK}" if equals else word)
        else:
            shown.append(
                _quote(_URL_PASSWORD.sub(rf"\1:{plugin.MASK}@", word))
            )
    return " ".join(shown)


def _quote(word: str) -> str:
    """For a shell; a line break may not end the line it is shown in."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = (
        chr(byte)
        if 32 <= byte < 127 and byte not in b"'\\"
        else f"\\x{byte:02x}"
        for byte in word.encode(errors="surrogateescape")
    )
    return f"$'{''.join(escaped)}'"
