"""``image-prepare service``: commands that change nothing."""

from __future__ import annotations

import argparse

from imageprep_client import errors
from imageprep_client.cli import base, columns, report
from imageprep_client.cli.commands.service import options


class ServiceList(base.Lister):
    """List the declared services of this node and their state.

    A service is alive if its process runs, regardless of what podman reports.
    """

    columns = (
        "Service",
        "State",
        "Digest",
        "Previous",
        "Owner",
        "Image",
        "Declared",
        "Alive",
        "Since",
        "Health",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_declaration(parser)
        options.add_long(parser, "images, start times and health")

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.service import ServiceNode

        statuses = ServiceNode().statuses(declaration=parsed_args.declaration)
        return self.columns, [
            (
                one.name,
                one.state,
                columns.Digest(one.digest),
                columns.Digest(one.previous),
                one.owner,
                columns.Hidden(one.image),
                columns.Hidden(one.declared),
                columns.Hidden("yes" if one.alive else "no"),
                columns.Hidden(one.since),
                columns.Hidden(one.health),
            )
            for one in statuses
        ]


class ServiceShow(base.ShowOne):
    """Show a service of this node.

    With --rpm, show only the version of a package in its running container.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "name", metavar="<service>", help="Name of the service"
        )
        parser.add_argument(
            "--rpm",
            metavar="<package>",
            help="Package whose version in the container to show",
        )
        options.add_declaration(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client.service import ServiceNode

        node = ServiceNode()
        (status,) = node.statuses(
            [parsed_args.name], declaration=parsed_args.declaration
        )
        if parsed_args.rpm:
            if not status.alive:
                raise errors.InvalidArgument(
                    f"{status.name}: does not run",
                    hint="start it: openstack image-prepare service start"
                    f" {status.name}",
                )
            version = node.package_version(status.name, parsed_args.rpm)
            return ("service", "digest", "package"), (
                status.name,
                status.digest,
                version,
            )
        fields = {
            "service": status.name,
            "declared": status.declared,
            "image": status.image,
            "digest": status.digest,
            "state": status.state,
            "alive": status.alive,
            "pid": status.pid or "",
            "since": status.since,
            "health": status.health,
            "owner": status.owner,
            "previous": status.previous,
            "generations": ", ".join(map(str, status.generations)),
        }
        return tuple(fields), tuple(fields.values())


class ServiceHistory(base.Lister):
    """Show the changes of services of this node, newest first."""

    columns = (
        "Time",
        "Service",
        "Action",
        "Outcome",
        "Generation",
        "Old digest",
        "New digest",
        "Reason",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "name",
            metavar="<service>",
            nargs="?",
            help="Show only this service",
        )
        options.add_long(parser, "the reasons")

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.service import ServiceNode

        return self.columns, [
            (
                one.time,
                one.service,
                one.action,
                one.outcome,
                one.generation or "",
                columns.Digest(one.old_digest),
                columns.Digest(one.new_digest),
                columns.Hidden(one.reason),
            )
            for one in ServiceNode().history(parsed_args.name)
        ]


class ServiceAdopt(base.Command):
    """Print a declaration of containers of this node.

    The declaration is derived from the command line that created a container,
    or, if it was created through the API of podman, from its configuration.
    Options without a key of their own are in podman_args. The values of
    environment variables are printed.

    With --from-paunch or --from-quadlet, the declaration is derived from a
    file, by default for all of its containers that keep running.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "names",
            metavar="<container>",
            nargs="*",
            help="Names of containers",
        )
        origin = parser.add_mutually_exclusive_group()
        origin.add_argument(
            "--from-paunch",
            metavar="<file>",
            help="Startup configuration of paunch or TripleO in JSON",
        )
        origin.add_argument(
            "--from-quadlet",
            metavar="<file>",
            help="Quadlet file, NAME.container",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client.service import ServiceNode

        if not (
            parsed_args.names
            or parsed_args.from_paunch
            or parsed_args.from_quadlet
        ):
            raise errors.InvalidArgument(
                "no container is named", hint="list them with: podman ps"
            )
        adopted = ServiceNode().adopt(
            parsed_args.names,
            paunch=parsed_args.from_paunch,
            quadlet=parsed_args.from_quadlet,
        )
        self.report = {"services": adopted.names}
        self.write(adopted.declaration)


class ServiceRender(base.Command):
    """Print the podman commands or the units for declared services.

    Nothing is changed. Units have only keys that podman 4.4 accepts. Values
    of env_from are not printed; they are in a file that upgrade and start
    write.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_names(parser)
        parser.add_argument(
            "--as",
            choices=("podman", "quadlet"),
            default="podman",
            dest="form",
            help="Format to print (default: podman)",
        )
        options.add_inputs(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client.service import ServiceNode

        self.write(
            ServiceNode().render(
                options.inputs(self, parsed_args),
                parsed_args.names,
                as_quadlet=parsed_args.form == "quadlet",
            )
        )
