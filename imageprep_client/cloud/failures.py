"""Errors of keystoneauth and openstacksdk as errors of this package."""

from __future__ import annotations

import re

from keystoneauth1 import exceptions as auth_errors

from imageprep_client import errors

# A URL may have a user and a password in it.
_USER = re.compile(r"//[^/\s@]*@")
_VERIFY = "name the authority of its certificate with --os-cacert"


def reason(error: Exception) -> str:
    """The bottom of an error in one line, without passwords of URLs."""
    return _USER.sub("//***@", errors.reason(error))


def of_keystone(error: auth_errors.ClientException) -> errors.CloudError:
    """The error for a failed authentication."""
    status = getattr(error, "http_status", None)
    if isinstance(error, auth_errors.SSLError):
        problem, hint = "keystone cannot be verified", _VERIFY
    elif isinstance(
        error,
        auth_errors.ConnectionError
        | auth_errors.DiscoveryFailure
        | auth_errors.HttpServerError,
    ):
        problem, hint = "keystone does not serve", "look at --os-auth-url"
    elif isinstance(error, auth_errors.HttpError):
        problem = "keystone refuses"
        hint = "look at the user, the password, the project and their domains"
    else:
        return of_configuration(error)
    return errors.CloudError(
        f"cloud: {problem}: {reason(error)}", status=status, hint=hint
    )


def of_configuration(error: Exception) -> errors.CloudError:
    """The error for a configuration that is not enough to authenticate."""
    return errors.CloudError(
        f"cloud: no authentication: {reason(error)}",
        hint="name a cloud of clouds.yaml with --os-cloud, or set the OS_*"
        " variables",
    )


def of_service(
    error: Exception, what: str, problem: str, hint: str | None = None
) -> errors.CloudError:
    """The error for a service of the cloud that cannot be used.

    :param what: the object that the request was about.
    :param problem: what could not be done.
    """
    if isinstance(error, auth_errors.SSLError):
        hint = _VERIFY
    return errors.CloudError(
        f"{what}: {problem}: {reason(error)}",
        status=getattr(error, "http_status", None),
        hint=hint,
    )
