"""A git server that wants a password, and sees what runs while it is asked."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib import parse

from tests import web


class GitServer(http.server.ThreadingHTTPServer):
    """Serves the repositories below a directory to one user.

    :ivar user, password: as they are, not as a URL has them.
    :ivar command_lines: of all processes that there were when it answered.
    :ivar refused: how many requests came without the password.
    """

    daemon_threads = True

    def __init__(self, directory: Path, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.directory = directory
        self.user = user
        self.password = password
        self.command_lines: set[str] = set()
        self.refused = 0

    @property
    def host(self) -> str:
        """Its address and port."""
        return f"127.0.0.1:{self.server_port}"

    def url(self, password: str | None = None) -> str:
        """Its URL with the user and a password, by default the right one."""
        given = self.password if password is None else password
        user, secret = (parse.quote(x, safe="") for x in (self.user, given))
        return f"http://{user}:{secret}@{self.host}"


@contextlib.contextmanager
def git_server(
    directory: Path, user: str, password: str
) -> Iterator[GitServer]:
    """One that runs as long as the context."""
    with web.started(GitServer(directory, user, password)) as server:
        yield server


class _Handler(web.QuietHandler):
    server: GitServer

    def do_GET(self) -> None:
        """Answer as git http-backend does, or ask for the password."""
        self.server.command_lines |= _command_lines()
        pair = f"{self.server.user}:{self.server.password}".encode()
        wanted = f"Basic {base64.b64encode(pair).decode()}"
        if self.headers.get("Authorization") != wanted:
            self.server.refused += 1
            self.answer(401, headers={"WWW-Authenticate": 'Basic realm="git"'})
            return
        self._answer(*self._backend().partition(b"\r\n\r\n")[::2])

    def do_POST(self) -> None:
        """The same."""
        self.do_GET()

    def _backend(self) -> bytes:
        """The answer of the CGI program, its headers first."""
        path, _, query = self.path.partition("?")
        length = self.headers.get("Content-Length", "0")
        told = subprocess.run(
            ["git", "http-backend"],
            input=self.rfile.read(int(length)),
            env={
                "PATH": os.environ["PATH"],
                "CONTENT_LENGTH": length,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROJECT_ROOT": str(self.server.directory),
                "HTTP_CONTENT_ENCODING": self.headers.get(
                    "Content-Encoding", ""
                ),
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REMOTE_USER": "somebody",
                "REQUEST_METHOD": self.command,
            },
            stdout=subprocess.PIPE,
            check=True,
        )
        return told.stdout

    def _answer(self, head: bytes, body: bytes) -> None:
        headers = dict(
            line.split(": ", 1) for line in head.decode().splitlines()
        )
        status = headers.pop("Status", "200 OK")
        self.answer(int(status.split()[0]), body, headers)


def _command_lines() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Processes end.
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ")
            found.add(line.decode(errors="replace"))
    return found
