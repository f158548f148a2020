"""``openstack image-prepare default``."""

from __future__ import annotations

import argparse
import shlex

from imageprep_client.cli import base, report


class Default(base.Command):
    """Print an environment file with the default ContainerImagePrepare.

    The environment describes the sources of the container images of a
    release. Adapt it to the site and use it as input of "image-prepare run".
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--release",
            metavar="<release>",
            help="OpenStack release of the images, queens to zed or master"
            " (default: master)",
        )
        parser.add_argument(
            "--output-env-file",
            metavar="<file>",
            help="File to write the environment to as well; an existing file"
            " is kept as <file>.backup",
        )
        parser.add_argument(
            "--local-push-destination",
            action="store_true",
            help="Copy the images to the registry of this undercloud",
        )
        parser.add_argument(
            "--enable-registry-login",
            action="store_true",
            help="Let every node log in to the registries before it pulls"
            " images. Use it if nodes pull from registries that require"
            " credentials; it fails on nodes that cannot reach these"
            " registries, and is rarely useful with --local-push-destination",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client import releases

        release = parsed_args.release or releases.DEFAULT_RELEASE
        text = releases.environment(
            release,
            local_push_destination=parsed_args.local_push_destination,
            registry_login=parsed_args.enable_registry_login,
            header=self.header(),
            output_env_file=parsed_args.output_env_file,
        )
        self.write(text)
        self.report = {
            "release": release,
            "output_env_file": parsed_args.output_env_file,
        }
        if parsed_args.output_env_file:
            path = parsed_args.output_env_file
            self.summary = f"{path}: written"
            self.next_step = (
                "next: adapt it, then openstack image-prepare run -e"
                f" {shlex.quote(path)}"
            )
        if parsed_args.enable_registry_login:
            self._warn(parsed_args.local_push_destination)

    def _warn(self, local: bool) -> None:
        """Warn of the requirements of a login."""
        if local:
            self.log.warning(
                "WARNING: with --local-push-destination the nodes pull"
                " from the undercloud, where no login is needed: with"
                " --enable-registry-login they will log in to the other"
                " registries all the same, and fail where these cannot be"
                " reached"
            )
        self.log.warning(
            "note: add ContainerImageRegistryCredentials to"
            " parameter_defaults for each registry that asks for a login"
        )
