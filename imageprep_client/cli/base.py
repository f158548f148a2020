"""The life cycle of a command: errors, exit status, summary."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import gc
import io
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from osc_lib.command import command

from imageprep_client import errors, plugin, wording
from imageprep_client.cli import (
    given,
    log,
    output,
    predecessor,
    progress,
    report,
)
from imageprep_client.oci import redaction

#: The result of a `Lister`: names of columns, and rows.
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
#: The result of a `ShowOne`: names and values of its fields.
Fields = tuple[Sequence[str], Sequence[Any]]

_PROVIDED = "This command is provided by the imageprep-client plugin."
#: Of many hints, and of many images with one cause, so many are shown.
_HINTS = 5


class Command(command.Command):
    """A command that needs no cloud and reports an error in one line.

    Exit status: 0 all done, 1 something failed after work had begun, 2
    nothing was changed. Messages go to the log and so to stderr, at every
    verbosity; the traceback is there with ``--debug`` only.
    """

    auth_required = False

    #: Set by an action that has a result to show although a part failed.
    failure: errors.CombinedFailure | None = None
    #: Set by an action: the result and the next step, for the last line.
    summary = ""
    next_step = ""
    #: Options of the predecessor that this command does not have, and their
    #: replacements.
    replaced = predecessor.NONE
    #: The things that fail, in messages.
    failing = "image"
    #: The columns of the result, where they are known before the action.
    columns: Sequence[str] = ()
    #: The progress of an action that changes something.
    work: log.Work | None = None
    #: Set by an action: the fields of its report, and the report as a page.
    report: Mapping[str, Any] | None = None
    page: str | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.formatter_class = output.HelpFormatter
        # argparse would print the whole usage, a screen of it, first.
        parser.error = functools.partial(  # type: ignore[method-assign]
            given.refuse, parser
        )
        given.watch(parser)
        predecessor.add_options(parser, self.replaced)
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command; the base has none."""

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the action, report its errors and print a summary."""
        # Imported modules are never garbage; scanning them takes a tenth of a
        # second in total.
        if not gc.get_freeze_count():
            gc.freeze()
        self._failures: list[errors.ImagePrepError] = []
        self._written: list[str] = []
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.enter_context(log.made_printable())
            try:
                log_file = self.log_file(parsed_args)
                report.check(parsed_args, log_file)
                stack.enter_context(log.to_file(log_file))
            except errors.ImagePrepError as error:
                return self._tell_error(error)
            status = self._run(parsed_args)
            spent = time.monotonic() - started
            status = self._write_reports(parsed_args, status, spent)
        if self.summary:
            parts = [
                f"{self.summary} in {wording.duration(spent)}",
                *(f"report written to {path}" for path in self._written),
                self.next_step,
            ]
            self.tell("; ".join(filter(None, parts)))
        return status

    @contextlib.contextmanager
    def observing(
        self, details: Callable[[int, int], list[str]] | None = None
    ) -> Iterator[log.Work]:
        """Progress of an action that changes something.

        :param details: see `progress.Progress`.
        """
        with progress.Progress(details=details) as shown:
            self.work = log.Work(shown)
            yield self.work

    def _run(self, parsed_args: argparse.Namespace) -> int:
        try:
            with _terminable(), self._output():
                predecessor.check(parsed_args)
                given.check(parsed_args)
                given.check_columns(parsed_args, self.columns)
                status = super().run(parsed_args)
        except BrokenPipeError:
            raise
        except (errors.ImagePrepError, OSError) as error:
            if self.failure:
                self._tell_error(self.failure)
            # An OSError: at a path of the user's, and nothing closer to it
            # expected one.
            return self._tell_error(
                _unusable(error) if isinstance(error, OSError) else error
            )
        except MemoryError:
            self.log.error(
                "out of memory; what was not finished is not visible"
            )
            return 1
        except KeyboardInterrupt as error:
            self.log.error("stopped; what was not finished is not visible")
            return 128 + getattr(error, "signal", signal.SIGINT)
        return self._tell_error(self.failure) if self.failure else status

    @property
    def _began(self) -> bool:
        return bool(self.work and self.work.began)

    def _write_reports(
        self, parsed_args: argparse.Namespace, status: int, seconds: float
    ) -> int:
        """Write the requested reports; return the exit status.

        A command that was refused has nothing to report.
        """
        if self.report is None and status != 1 and not self._began:
            return status
        now = datetime.datetime.now(datetime.UTC)
        started = now - datetime.timedelta(seconds=seconds)
        fields = {
            "command": self._command(),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "status": status,
            "summary": self.summary,
            **(self.report or {}),
        }
        for path, problem in report.write(
            parsed_args, fields, self._failures, self.page
        ):
            if problem:
                status = max(status, self._tell_error(problem, status=1))
            else:
                self._written.append(path)
        return status

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
        """The end of the help, as cliff has it.

        To determine the package of a command, cliff reads the metadata of all
        installed packages, which takes a tenth of a second.
        """
        added = (hook.obj.get_epilog() for hook in self._hooks if hook.obj)
        return "\n\n".join(filter(None, [self._epilog, *added, _PROVIDED]))

    def header(self) -> list[str]:
        """The time and the command line by which a file is written.

        For the comments at the top of what is written; passwords masked.
        """
        now = datetime.datetime.now(datetime.UTC)
        return [
            f"Generated on {now.isoformat(timespec='seconds')} by:",
            self._command(),
        ]

    def _command(self) -> str:
        """The command line; passwords masked."""
        if self.app.interactive_mode:
            words: Sequence[str] = str(self.cmd_name).split()
        else:
            words = self.app.command_options
        return f"openstack {command_line(words)}"

    def tell(self, line: str) -> None:
        """Write a message to stderr, if that is open."""
        if self.app.stderr is not None:
            with contextlib.suppress(OSError):
                self.app.stderr.write(f"{errors.printable(line)}\n")
                self.app.stderr.flush()

    def write(self, text: str) -> None:
        with self.writing():
            self.app.stdout.write(text)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Print in the block; cliff handles a reader that went away.

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
            raise errors.PartialFailure(
                "standard output: cannot be written:"
                f" {errors.reason(error)}; all else is done"
            ) from error

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """As `writing`, with control characters in the output escaped.

        Much of it comes from images, disks and registries.
        """
        stream = self.app.stdout
        with self.writing():
            self.app.stdout = output.PrintableStream(stream)
            try:
                yield
            finally:
                self.app.stdout = stream

    def _abandon(self) -> None:
        """Keep Python from flushing the stream at exit, which would fail."""
        with contextlib.suppress(io.UnsupportedOperation):
            stream = self.app.stdout.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        """Discard output when the caller closed standard output.

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

    def _tell_error(
        self, error: errors.ImagePrepError, *, status: int = 2
    ) -> int:
        """Log the error and its hints; return the exit status.

        :param status: where nothing else says that work had begun.
        """
        self.log.debug("the command failed", exc_info=error)
        self.log.error("%s", errors.printable(error))
        self._show_log(error)
        hints = [error.hint]
        if isinstance(error, errors.CombinedFailure):
            self._show_failures(error.failures)
            self._failures.extend(error.failures or [error])
            hints.extend(failure.hint for failure in error.failures)
        else:
            self._failures.append(error)
        # Many images may fail for one reason.
        for hint in list(dict.fromkeys(filter(None, hints)))[:_HINTS]:
            self.log.error("hint: %s", errors.printable(hint))
        partial = isinstance(error, errors.PartialFailure)
        return 1 if partial or self._began else status

    def _show_failures(
        self, failures: Sequence[errors.ImagePrepError]
    ) -> None:
        """Show one line for each cause, with the number of failures."""
        by_message = {str(failure): failure for failure in failures}
        for group in wording.alike(map(str, failures)):
            line = wording.line(group, self.failing)
            self.log.error("  %s", errors.printable(line))
            for other in group[1:]:
                self.log.info("  %s", errors.printable(other))
            self._show_log(by_message[group[0]])

    def _show_log(self, error: errors.ImagePrepError) -> None:
        """Show the output of the program that failed to change an image."""
        if isinstance(error, errors.ModifyError):
            for line in error.log:
                self.log.error("    | %s", errors.printable(line))


class _Terminated(KeyboardInterrupt):
    """A signal other than SIGINT ends the command.

    :ivar signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """End a command on SIGTERM or SIGHUP as cleanly as on Ctrl-C."""

    def terminate(number: int, _: object) -> None:
        raise _Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGINT) is plugin.stop_early:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {
        number: signal.signal(number, terminate)
        for number in (signal.SIGTERM, signal.SIGHUP)
        # Under nohup the command continues.
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Lister(Command, command.Lister):
    """A `Command` whose result is a table."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Any,
    ) -> int:
        given.check_columns(parsed_args, column_names)
        data = (output.plain(row, parsed_args.formatter) for row in data)
        with self.showing():
            if parsed_args.formatter == "table":
                column_names, data = output.for_people(
                    column_names, data, parsed_args
                )
            elif parsed_args.formatter == "csv":
                data = output.for_csv(data)
            return super().produce_output(parsed_args, column_names, data)


class ShowOne(Command, command.ShowOne):
    """A `Command` whose result is one object."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Any,
    ) -> int:
        given.check_columns(parsed_args, column_names)
        data = output.plain(data, parsed_args.formatter)
        with self.showing():
            if parsed_args.formatter == "table":
                data = output.shown(data)
            return super().produce_output(parsed_args, column_names, data)


def _unusable(error: OSError) -> errors.ImagePrepError:
    """The error of the system in one line, with the path if it has one."""
    named = isinstance(error.filename, str | bytes)
    where = f"{os.fsdecode(error.filename)}: " if named else ""
    return errors.ImagePrepError(
        f"{where}{errors.reason(error)}", hint=errors.as_root(error)
    )


def command_line(words: Sequence[str]) -> str:
    """The words as one line for a shell, the values of secrets masked."""
    shown = []
    secret = False
    for word in words:
        name, equals, _ = word.partition("=")
        if secret:
            shown.append(redaction.MASK)
            secret = False
        elif plugin.is_secret(name):
            secret = not equals
            shown.append(f"{name}={redaction.MASK}" if equals else word)
        else:
            shown.append(_quote(redaction.masked(word)))
    return " ".join(shown)


def _quote(word: str) -> str:
    """A word for a shell, without line breaks."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = (
        chr(byte)
        if 32 <= byte < 127 and byte not in b"'\\"
        else f"\\x{byte:02x}"
        for byte in word.encode(errors="surrogateescape")
    )
    return f"$'{''.join(escaped)}'"
