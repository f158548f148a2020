"""The cloud, for commands that need it only with some of their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystoneauth1 import exceptions as auth_errors
from openstack.exceptions import SDKException
from osc_lib import exceptions as shell_errors

from imageprep_client import errors

if TYPE_CHECKING:
    from openstack.connection import Connection

    from imageprep_client.cli.base import Command


def connect(command: Command) -> Connection:
    """The connection that the shell would have made beforehand.

    That is the shell's own preparation, done when the options of the command
    are known: so all ways to authenticate are there, and none is asked for
    until now. A token is fetched; the shell closes the connection.

    :raises InvalidArgument: when what is configured is not enough.
    :raises AccessDenied: when keystone refuses.
    :raises Unreachable: when keystone is not there, or cannot be trusted.
    """
    command.auth_required = True
    try:
        command.app.prepare_to_run_command(command)
    except auth_errors.SSLError as error:
        raise errors.Unverified(
            f"cloud: keystone cannot be verified: {errors.reason(error)}",
            hint="name the authority of its certificate with --os-cacert",
        ) from None
    except (
        auth_errors.ConnectFailure,
        auth_errors.DiscoveryFailure,
        auth_errors.HttpServerError,
    ) as error:
        raise errors.Unreachable(
            f"cloud: keystone does not serve: {errors.reason(error)}",
            hint="look at --os-auth-url",
        ) from None
    except auth_errors.HttpError as error:
        raise errors.AccessDenied(
            f"cloud: keystone refuses: {errors.reason(error)}"
        ) from None
    except (
        auth_errors.ClientException,
        shell_errors.AuthorizationFailure,
        shell_errors.CommandError,
        SDKException,
        OSError,
        # Of a plugin, for values that are not for it.
        TypeError,
    ) as error:
        raise errors.InvalidArgument(
            f"cloud: no authentication: {errors.reason(error)}",
            hint="name a cloud of clouds.yaml with --os-cloud, or set the"
            " OS_* variables",
        ) from None
    connection: Connection = command.app.client_manager.sdk_connection
    return connection
