"""Options of the commands for services."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from imageprep_client import errors
from imageprep_client.cli import base, options

if TYPE_CHECKING:
    from imageprep_client.client.service import ServiceInputs, SwapPolicy


def seconds(text: str) -> float:
    """A number of seconds, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def add_names(parser: argparse.ArgumentParser, nargs: str = "*") -> None:
    """Add the names of services."""
    parser.add_argument(
        "names",
        metavar="<service>",
        nargs=nargs,
        help="Names of services (default: all declared services)"
        if nargs == "*"
        else "Names of services",
    )


def add_declaration(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the declaration."""
    parser.add_argument(
        "--declaration",
        metavar="<file>",
        help="Declaration of the services (default: the declaration that was"
        " applied last)",
    )


def add_long(parser: argparse.ArgumentParser, more: str) -> None:
    """Add the option that shows all columns.

    :param more: what a default table does not have.
    """
    parser.add_argument(
        "--long", action="store_true", help=f"Also show {more}"
    )


def add_kill_survivors(parser: argparse.ArgumentParser) -> None:
    """Add the option that permits ending survivors."""
    parser.add_argument(
        "--kill-survivors",
        action="store_true",
        help="Stop services even if this ends processes that are declared as"
        " survivors",
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the options for the declared services."""
    add_declaration(parser)
    options.add_environment_option(
        parser,
        "Heat environment file with the parameters that the declaration names"
        " (repeatable; later ones override earlier ones)",
    )
    options.add_plan_options(
        parser, "Deployment plan in the cloud; its environments come first"
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the options for health checks and failures."""
    from imageprep_client.client.service import OnFailure, SwapPolicy

    usual = SwapPolicy()
    parser.add_argument(
        "--min-healthy",
        metavar="<seconds>",
        type=seconds,
        default=usual.min_healthy,
        help="Time for which a service must be healthy before the next one"
        " is replaced (default: %(default)g)",
    )
    parser.add_argument(
        "--healthy-deadline",
        metavar="<seconds>",
        type=seconds,
        default=usual.healthy_deadline,
        help="Maximum time for a service to become healthy (default:"
        " %(default)g)",
    )
    parser.add_argument(
        "--on-failure",
        choices=[str(one) for one in OnFailure],
        default=str(usual.on_failure),
        help="Action if a service does not become healthy: revert-all:"
        " restore the old containers of all services (default); revert-one:"
        " restore that of the failed service; stop: leave everything as it"
        " is",
    )
    parser.add_argument(
        "--keep",
        metavar="<number>",
        type=options.positive,
        default=usual.keep,
        help="Number of earlier containers of each service to keep for"
        " rollbacks (default: %(default)d)",
    )


def policy(parsed_args: argparse.Namespace) -> SwapPolicy:
    """The values of `add_policy`.

    :raises InvalidArgument: when no service can be healthy long enough.
    """
    from imageprep_client.client.service import OnFailure, SwapPolicy

    healthy, deadline = parsed_args.min_healthy, parsed_args.healthy_deadline
    if 0 < healthy >= deadline:
        raise errors.InvalidArgument(
            f"--healthy-deadline {deadline:g}: a service cannot have been"
            f" healthy for {healthy:g} s by then",
            hint="give a longer --healthy-deadline or a shorter --min-healthy",
        )
    return options.request(
        SwapPolicy, parsed_args, on_failure=OnFailure(parsed_args.on_failure)
    )


def inputs(
    command: base.Command, parsed_args: argparse.Namespace
) -> ServiceInputs:
    """The values of `add_inputs`."""
    from imageprep_client.client.service import ServiceInputs

    return options.request(
        ServiceInputs, parsed_args, plan=options.plan(command, parsed_args)
    )
