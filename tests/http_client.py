"""One HTTP request at a time, with nothing added and nothing followed."""

from __future__ import annotations

import dataclasses
import http.client
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

#: By name, or one by one where a name comes several times.
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of a server."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error_code(self) -> str:
        """The code of a refusal by a registry."""
        assert self.headers["Content-Type"] == "application/json"
        return str(self.document["errors"][0]["code"])


def ask(
    url: str, path: str, headers: Headers = (), method: str = "GET"
) -> Answer:
    """Ask for a path of the server at `url`."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        for name, value in pairs:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def follow(url: str, path: str, headers: Headers = ()) -> Answer:
    """Ask, and again where a redirect of the same server points."""
    answer = ask(url, path, headers)
    for _ in range(3):
        if answer.status not in (301, 302, 307, 308):
            break
        location = answer.headers["Location"]
        assert location.startswith(f"{url}/")
        answer = ask(url, location.removeprefix(url), headers)
    return answer
