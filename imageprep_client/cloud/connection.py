"""The connection to the cloud, made when a command first needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from keystoneauth1 import exceptions as auth_errors
from openstack.exceptions import SDKException
from osc_lib import exceptions as shell_errors

from imageprep_client.cloud import failures

if TYPE_CHECKING:
    from openstack.connection import Connection

#: Seconds in which a service has to answer; ``api_timeout`` of a cloud in
#: ``clouds.yaml`` overrides it.
_TIMEOUT = 30


class ShellCommand(Protocol):
    """A command of the ``openstack`` shell.

    :ivar auth_required: read by the shell before it runs the command.
    :ivar app: the shell.
    """

    auth_required: bool

    @property
    def app(self) -> Any: ...


@contextlib.contextmanager
def _limited(app: Any) -> Iterator[None]:
    """Limit the time of responses, where the cloud has no timeout.

    Later commands of an interactive shell share the session, and may have to
    wait longer.
    """
    options = app.options
    cloud = app.cloud_config.get_one(
        options.cloud, validate=False, argparse=options
    )
    if cloud.config.get("api_timeout") is not None:
        yield
        return
    options.api_timeout = _TIMEOUT
    try:
        yield
    finally:
        del options.api_timeout
        session = getattr(app.client_manager, "session", None)
        if session and app.interactive_mode:
            session.timeout = None


def connect(command: ShellCommand) -> Connection:
    """Authenticate as the shell does, with all its ways to do so.

    The shell decides before it parses the options of a command whether the
    command needs the cloud. A command that needs it with some options only
    says no, and calls this when it does. The shell closes the connection.

    :raises CloudError: when the configuration is incomplete, or keystone
        refuses, cannot be reached or cannot be verified.
    """
    command.auth_required = True
    try:
        with _limited(command.app):
            command.app.prepare_to_run_command(command)
    # A cause may quote what the user configured, so none is chained.
    except auth_errors.ClientException as error:
        raise failures.of_keystone(error) from None
    except (
        shell_errors.AuthorizationFailure,
        shell_errors.CommandError,
        SDKException,
        OSError,
        # A plugin raises it for values of another plugin.
        TypeError,
    ) as error:
        raise failures.of_configuration(error) from None
    connection: Connection = command.app.client_manager.sdk_connection
    return connection
