"""Whether a web server answers."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse


def status(url: str, timeout: float) -> int:
    """The status of the response to GET; the certificate is not verified.

    Clients of the service verify it. Redirections are not followed, and
    proxies are not used.

    :raises OSError: when there is no response.
    """
    parts = urllib.parse.urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = _connection(parts, timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(str(error) or "no HTTP") from None


def _connection(
    parts: urllib.parse.SplitResult, timeout: float
) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(
        host, parts.port, timeout=timeout, context=context
    )
