"""Whether a registry answers at an endpoint."""

from __future__ import annotations

import contextlib
import urllib.parse

from imageprep_client import deadlines, errors
from imageprep_client.http import failures, urls
from imageprep_client.http.transport import Response, Timeouts, Transports
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.endpoints.hosts import Endpoint
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.session import API, USER_AGENT

#: Answers of proxies that cannot reach a server.
_OUT_OF_REACH = frozenset({502, 503, 504})


def probe(
    endpoint: Endpoint,
    transports: Transports,
    timeouts: Timeouts,
    first: Request | None = None,
) -> Response | str:
    """The response of a registry at this endpoint.

    No secret is sent. TLS servers answer a plain request with 400, and web
    servers redirect it to TLS or a login: neither is a registry.

    :param first: a GET or HEAD to send, whose response can be used; None:
        the version check of the distribution API.
    :returns: for a server that is no registry, the reason that it gives, or
        an empty text.
    :raises Unreachable: if no server answers, or only a proxy that cannot
        reach it.
    """
    asked = first or Request("GET", "/v2/", endpoint.host)
    limits = min(timeouts.connect, 3.0), min(timeouts.read, 10.0)
    try:
        response = transports.of(endpoint.tls).send(
            asked.method,
            f"{endpoint.base}{asked.url}",
            {"User-Agent": USER_AGENT, **asked.headers},
            None,
            (deadlines.bounded(limits[0]), deadlines.bounded(limits[1])),
        )
        if response.proxy and response.status in _OUT_OF_REACH:
            response.discard()
            raise failures.refused(
                response.url, response.proxy, response.status
            )
    except errors.Unreachable as error:
        if error.is_timeout:
            deadlines.check(failure=error)
        error.unknown = endpoint.host
        raise
    if response.status == 400 or (
        response.status in urls.REDIRECTS and not _is_elsewhere(response)
    ):
        # Some registries answer so for this object only.
        if first is None:
            return answers.reason(response)
        checked = probe(endpoint, transports, timeouts)
        if isinstance(checked, str):
            response.discard()
            return checked
    elif first is None:
        response.discard()
    return response


def _is_elsewhere(response: Response) -> bool:
    """Whether a redirect leads to an API, and not only to TLS."""
    location = response.headers.get("Location")
    if not location:
        return False
    with contextlib.suppress(errors.StoreError):
        target = urls.follow(response.url, location, "redirect")
        scheme, host, _ = urls.origin(target)
        own_scheme, own_host, _ = urls.origin(response.url)
        api = API in urllib.parse.urlsplit(target).path
        return api and (scheme == own_scheme or host != own_host)
    return False
