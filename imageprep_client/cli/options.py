"""Options that several commands share, and their values."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from imageprep_client.cli import base, confirmation
from imageprep_client.oci import redaction

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from imageprep_client.client.images import Credential
    from imageprep_client.client.plans import Plan
    from imageprep_client.client.registry_options import RegistryOptions

_Request = TypeVar("_Request", bound="DataclassInstance")


def add_registry_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for connections to registries."""
    from imageprep_client.client.registry_options import CONCURRENCY

    parser.add_argument(
        "--insecure-registry",
        metavar="<host:port>",
        action="append",
        dest="insecure_registries",
        help="Registry to use even though it speaks plain HTTP or its"
        " certificate cannot be verified (repeatable)",
    )
    parser.add_argument(
        "--cacert",
        metavar="<file>",
        dest="registry_cacert",
        help="File with certificate authorities to trust in addition to those"
        " of the system",
    )
    parser.add_argument(
        "--authfile",
        metavar="<file>",
        help="File with credentials, as written by podman login, for"
        " registries that ContainerImageRegistryCredentials does not list",
    )
    parser.add_argument(
        "--token-server",
        metavar="<registry>=<url>",
        action="append",
        dest="token_servers",
        help="Token server at another site that may receive the credentials"
        " of this registry (repeatable)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="<number>",
        type=positive,
        default=CONCURRENCY,
        help="Maximum number of concurrent requests to each registry"
        " (default: %(default)s); a registry that limits the rate gets fewer",
    )


def add_policy_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the signature policy."""
    parser.add_argument(
        "--signature-policy",
        metavar="<file>",
        help="Signature policy that decides which images are accepted, in the"
        " format of containers-policy.json(5) (default:"
        " containers/policy.json in $XDG_CONFIG_HOME or ~/.config, else"
        " /etc/containers/policy.json; without a file, all images are"
        " accepted)",
    )


def add_environment_option(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names heat environments.

    :param text: its help.
    """
    parser.add_argument(
        "-e",
        "--environment-file",
        metavar="<file>",
        action="append",
        dest="environment_files",
        help=text,
    )


def add_plan_options(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the options that name a deployment plan.

    :param text: the help of the one for a plan in the cloud.
    """
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument("--plan", metavar="<name>", help=text)
    plan.add_argument(
        "--plan-dir",
        metavar="<directory>",
        help="Deployment plan in a directory, used in the same way",
    )


def plan(
    command: base.Command, parsed_args: argparse.Namespace
) -> Plan | None:
    """The plan that the options name, if they name one."""
    if parsed_args.plan or parsed_args.plan_dir:
        return open_plan(command, parsed_args)
    return None


def open_plan(command: base.Command, parsed_args: argparse.Namespace) -> Plan:
    """The plan that the options name.

    :raises InvalidArgument: when they name none, or two.
    """
    from imageprep_client.client import cloud, plans

    return plans.open_plan(
        parsed_args.plan,
        directory=parsed_args.plan_dir,
        connect=lambda: cloud.connect(command),
        kept=getattr(parsed_args, "plan_history", plans.HISTORY),
    )


def deployment(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_deployment_options`, for a `PrepareRequest`."""
    from imageprep_client.client import images

    return {
        "environment_files": parsed_args.environment_files,
        "environment_directories": [
            *images.environment_directories(),
            *parsed_args.environment_directories,
        ],
        "roles_files": parsed_args.roles_files,
        "release": parsed_args.release,
        "template_file": parsed_args.template_file,
    }


def add_deployment_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name environments, roles and image table."""
    from imageprep_client.client import releases

    add_environment_option(
        parser,
        "Heat environment file (repeatable; later ones override earlier ones)",
    )
    parser.add_argument(
        "--environment-directory",
        metavar="<directory>",
        action="append",
        dest="environment_directories",
        help="Directory whose .yaml files are read in sorted order before the"
        " files of -e (repeatable); ~/.tripleo/environments is always read if"
        " it exists",
    )
    parser.add_argument(
        "-r",
        "--roles-file",
        metavar="<file>",
        action="append",
        dest="roles_files",
        help="File with a list of roles (repeatable); only the images of"
        " their enabled services are prepared (default: all images)",
    )
    parser.add_argument(
        "--release",
        metavar="<release>",
        help="Release whose image table is used (default: the release that the"
        " header of an environment file names, else"
        f" {releases.DEFAULT_RELEASE}); one of:"
        f" {', '.join(releases.releases())}",
    )
    parser.add_argument(
        "--template-file",
        metavar="<file>",
        help="Jinja2 template to use as the image table instead of that of"
        " the release",
    )


def registry_options(parsed_args: argparse.Namespace) -> RegistryOptions:
    """The values of `add_registry_options` and ``--image-serve``."""
    from imageprep_client.client.registry_options import RegistryOptions

    return RegistryOptions(
        image_serve=getattr(parsed_args, "image_serve", None),
        signature_policy=getattr(parsed_args, "signature_policy", None),
        insecure_registries=tuple(parsed_args.insecure_registries),
        cacert=parsed_args.registry_cacert,
        authfile=parsed_args.authfile,
        token_servers=tuple(parsed_args.token_servers),
        concurrency=parsed_args.concurrency,
    )


def add_place_options(
    parser: argparse.ArgumentParser, *, writes: bool = False
) -> None:
    """Add the options that choose a registry or a tree.

    :param writes: whether the command changes it; no archive can be changed.
    """
    others = " or oci:DIRECTORY"
    if not writes:
        others = ", oci:DIRECTORY or oci-archive:FILE"
    parser.add_argument(
        "--registry-url",
        metavar="<host:port>",
        help="Registry to use, perhaps with a path that the names of"
        f" repositories begin with; or image-serve:DIRECTORY{others} (default:"
        " the registry of the undercloud)",
    )
    add_tree_option(parser)


def add_tree_option(
    parser: argparse.ArgumentParser,
    use: str = ", to use instead of the registry",
    default: str = "if the registry is",
) -> None:
    """Add the option that takes a tree in place of its web server.

    :param use, default: parts of its help.
    """
    from imageprep_client.client.stores import PORT, TREE

    parser.add_argument(
        "--image-serve",
        metavar="<directory>",
        help=f"Directory tree that a web server serves{use}. By default,"
        f" {TREE} is used {default} port {PORT} of this host",
    )


def add_history_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits the history of a plan."""
    from imageprep_client.client import plans

    parser.add_argument(
        "--plan-history",
        metavar="<number>",
        type=positive,
        default=plans.HISTORY,
        help="Maximum number of earlier versions of the parameters to keep"
        " with the plan (default: %(default)s)",
    )


def add_image_timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits the time for one image."""
    parser.add_argument(
        "--image-timeout",
        metavar="<seconds>",
        type=positive,
        help="Maximum time for the copy of one image, including retries; an"
        " image that takes longer fails (default: no limit)",
    )


def add_referrers_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for artifacts that are attached to an image."""
    referrers = parser.add_mutually_exclusive_group()
    referrers.add_argument(
        "--referrers",
        choices=("copy", "require"),
        default="copy",
        help="Policy for signatures, attestations and other artifacts that"
        " are attached to images: copy: copy those that are available and"
        " name the others (default); require: an artifact that is not"
        " available fails its image",
    )
    referrers.add_argument(
        "--no-referrers",
        action="store_const",
        const="leave",
        dest="referrers",
        help="Do not copy signatures, attestations and other artifacts that"
        " are attached to images",
    )


def add_nondistributable_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for non-distributable layers."""
    parser.add_argument(
        "--nondistributable",
        action="store_true",
        help="Copy non-distributable layers, such as the base layers of"
        " Windows images, from the URLs in the manifest. By default they are"
        " left out, and clients fetch them from these URLs",
    )


def add_login_options(
    parser: argparse.ArgumentParser, prefix: str = "", of: str = "the registry"
) -> None:
    """Add the options for a user and a password.

    :param prefix: of their names, such as ``source-``.
    :param of: the registry that they are for, in help texts.
    """
    parser.add_argument(
        f"--{prefix}username",
        metavar="<user>",
        default="",
        help=f"User name at {of}",
    )
    password = parser.add_mutually_exclusive_group()
    password.add_argument(
        f"--{prefix}password",
        metavar="<password>",
        type=_Secret,
        default="",
        help=f"Password at {of}. It is visible to other users of this host in"
        f" the process list; --{prefix}password-file is safer",
    )
    password.add_argument(
        f"--{prefix}password-file",
        metavar="<file>",
        default="",
        help=f"File that contains the password at {of} on one line",
    )


def credential(
    parsed_args: argparse.Namespace, prefix: str = ""
) -> Credential | None:
    """The values of `add_login_options`; None without them."""
    from imageprep_client.client import images

    key = prefix.replace("-", "_")
    user = getattr(parsed_args, f"{key}username")
    password = str(getattr(parsed_args, f"{key}password"))
    path = getattr(parsed_args, f"{key}password_file")
    if user and not password and not path:
        of = prefix.removesuffix("-") or "the registry"
        password = confirmation.password(user, of)
    return images.credential(user, password, path, prefix)


class _Secret(str):
    """A secret on the command line; its `repr` is masked in logs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return redaction.MASK


def request(
    kind: type[_Request], parsed_args: argparse.Namespace, **others: Any
) -> _Request:
    """A request whose fields have the values of the options of their names.

    :param others: the fields that have other values.
    """
    names = {field.name for field in dataclasses.fields(kind)} - others.keys()
    given = {name: getattr(parsed_args, name) for name in names}
    return kind(**given, **others)


def positive(text: str) -> int:
    """A positive integer, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive whole number"
        )
    return int(text)
