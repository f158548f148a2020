"""The hook by which ``openstack`` finds the ``image-prepare`` commands.

Every call of ``openstack`` imports this module, whatever its command: it
imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from imageprep_client.oci import redaction

API_NAME = "image_prepare"
API_VERSION_OPTION = "os_image_prepare_api_version"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"

#: Global options whose values may be shown. Those of other plugins, and all
#: that is abbreviated, may be secrets.
_SHOWN = frozenset(
    f"--os-{name}"
    for name in (
        "auth-type",
        "auth-url",
        "beta-command",
        "cacert",
        "cloud",
        "identity-api-version",
        "image-prepare-api-version",
        "interface",
        "project-domain-id",
        "project-domain-name",
        "project-id",
        "project-name",
        "region-name",
        "user-domain-id",
        "user-domain-name",
        "username",
    )
)
#: The command that has an option of the shell's, ``--version``.
_VERSIONED = ["image-prepare", "machine", "delete"]
#: Objects that are made before those that are left are looked through.
_GARBAGE = 20_000
# Words come joined by spaces, so a value ends where an option begins, or our
# command.
_OPTION = re.compile(
    r"(--[a-z0-9-]+)([ =])(.*?)(?= -| image-prepare |$)", re.DOTALL
)


def stop_early(number: int, frame: object) -> None:
    """End a command that has not begun, without a traceback.

    Later the shell and the command handle SIGINT themselves.
    """
    # Nothing may be imported or flushed: the shell is in the middle of that.
    os.write(2, b"stopped; nothing was done\n")
    os._exit(128 + number)


def _catch_early_interrupts() -> None:
    """Handle SIGINT from now until an ``image-prepare`` command begins.

    Of the start of the shell this covers all but the imports before this
    module, about a half.
    """
    if (
        "image-prepare" in sys.argv[1:]
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, stop_early)


def _collect_garbage_rarely() -> None:
    """Look for garbage less often while an ``image-prepare`` command runs.

    The shell, and a command, make many objects that stay, so most looks find
    nothing.
    """
    if "image-prepare" in sys.argv[1:]:
        gc.set_threshold(_GARBAGE)


_catch_early_interrupts()
_collect_garbage_rarely()


def is_secret(option: str) -> bool:
    """Whether the value of an option, perhaps abbreviated, is a secret.

    :param option: of the shell or of a command of ours, such as
        ``--password``.
    """
    if option.startswith("--os-"):
        return option not in _SHOWN
    if not option.startswith("--") or option.endswith("-file"):
        return False
    return redaction.is_secret(option)


def mask_passwords(record: logging.LogRecord) -> bool:
    """Mask passwords and tokens in a log record of the shell's.

    The shell logs its command line before any command is there, and does
    not know all the options that are secret.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(
            _OPTION.sub(_masked, argument)
            if isinstance(argument, str) and "image-prepare" in argument
            else argument
            for argument in record.args
        )
    return True


def _masked(option: re.Match[str]) -> str:
    name, joint, value = option.groups()
    return f"{name}{joint}{redaction.MASK if is_secret(name) else value}"


def make_client(instance: Any) -> Any:
    """The client behind ``app.client_manager.image_prepare``.

    :param instance: the shell's ``ClientManager``.
    """
    from imageprep_client.client.images import ContainerImages

    return ContainerImages()


def build_option_parser(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add the global options of the plugin.

    The shell calls it before it logs anything.
    """
    logging.getLogger("osc_lib.shell").addFilter(mask_passwords)
    parser.add_argument(
        "--os-image-prepare-api-version",
        metavar="<image-prepare-api-version>",
        default=os.environ.get("OS_IMAGE_PREPARE_API_VERSION")
        or DEFAULT_API_VERSION,
        help="Version of the image-prepare commands, default="
        f"{DEFAULT_API_VERSION} (Env: OS_IMAGE_PREPARE_API_VERSION)",
    )
    _keep_options(parser)
    return parser


def _keep_options(parser: argparse.ArgumentParser) -> None:
    """Leave options of ``image-prepare`` commands to the commands.

    The shell takes its own options wherever they are on the command line. For
    ``--version`` it prints its own and does nothing else. The file of
    ``--log-file`` it opens at once: it would wait for the reader of a named
    pipe for ever, and print a traceback for each record that does not fit on
    a disk.
    """
    parse = parser.parse_known_args

    def parse_known_args(*args: Any, **kwargs: Any) -> Any:
        known = parser._option_string_actions
        hidden = known.get("--version")
        if hidden and args and _has_version(args[0]):
            del known["--version"]
        try:
            options, words = parse(*args, **kwargs)
        finally:
            if hidden:
                known["--version"] = hidden
        if "image-prepare" in words:
            options.image_prepare_log_file = options.log_file
            options.log_file = None
        return options, words

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign] # the shell offers no other way


def _has_version(argv: Sequence[str]) -> bool:
    """Whether the command is one with a ``--version`` of its own."""
    if "image-prepare" not in argv:
        return False
    start = argv.index("image-prepare")
    command = list(argv[start : start + len(_VERSIONED)])
    return command == _VERSIONED and "--version" not in argv[:start]
